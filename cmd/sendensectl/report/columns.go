package report

import (
	"fmt"
	"math"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// A day is a column of the grid.
type day struct {
	Number   string // of the month
	Label    string // in words
	Weekend  bool
	Received uint64
	Bar      int // height, in percent of the largest, on a square-root scale: a day of incrementals is seen beside a day of full backups
	Failed   int
}

// A month is some columns of the grid.
type month struct {
	Name, Year string
	Days       int
}

// dayOf is the number of the day of a time, from 0; negative before the first day.
func (e *estate) dayOf(t time.Time) int {
	y, m, d := t.In(e.at.Location()).Date()
	fy, fm, fd := e.from.Date()
	// In UTC every day has 24 hours.
	return int(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Sub(time.Date(fy, fm, fd, 0, 0, 0, 0, time.UTC)).Hours()) / 24
}

func (e *estate) columns() []day {
	list := make([]day, e.days)
	for i := range list {
		t := e.from.AddDate(0, 0, i)
		list[i] = day{Number: fmt.Sprint(t.Day()), Label: t.Format("Monday, 2 January 2006"), Weekend: t.Weekday() == time.Saturday || t.Weekday() == time.Sunday}
	}
	most := uint64(1)
	for _, b := range e.backups {
		i := e.dayOf(b.CreatedAt)
		if i < 0 || i >= len(list) {
			continue
		}
		switch b.State {
		case rpc.Completed:
			list[i].Received += b.BytesTransferred
			most = max(most, list[i].Received)
		case rpc.Failed:
			list[i].Failed++
		}
	}
	for i := range list {
		list[i].Bar = int(math.Ceil(100 * math.Sqrt(float64(list[i].Received)/float64(most))))
	}
	return list
}

// months groups the columns by month.
func (e *estate) months() (list []month) {
	for i := range e.days {
		t := e.from.AddDate(0, 0, i)
		if i == 0 || t.Day() == 1 {
			list = append(list, month{Name: t.Format("Jan"), Year: t.Format("2006")})
		}
		list[len(list)-1].Days++
	}
	return list
}
