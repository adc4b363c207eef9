package progress

import (
	"io"
	"time"
)

// A FileGauge shows how the reading of files comes along as one gauge, once there is anything to read.
type FileGauge struct {
	w     io.Writer
	every time.Duration
	name  string
	about func(file string) string // what is said when the next file begins
	gauge Gauge
	file  string
}

func NewFileGauge(w io.Writer, every time.Duration, name string, about func(file string) string) *FileGauge {
	return &FileGauge{w: w, every: every, name: name, about: about}
}

func (g *FileGauge) Set(file string, done, total int64) {
	if total == 0 {
		return
	}
	if g.gauge == nil {
		g.gauge = NewGauge(g.w, g.every, g.name, total)
	}
	if file != g.file {
		g.file = file
		g.gauge.Say(g.about(file))
	}
	g.gauge.Set(float64(done) / float64(total))
}

func (g *FileGauge) Close() {
	if g.gauge != nil {
		g.gauge.Close()
	}
}
