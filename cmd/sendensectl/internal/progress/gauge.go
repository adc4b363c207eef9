package progress

import (
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
)

// A Gauge shows the progress of one thing that has a size: on a terminal as a bar, elsewhere as lines.
type Gauge interface {
	Say(what string) // the step that begins
	Set(fraction float64)
	Close()
}

// NewGauge makes a bar on a terminal, else a gauge of lines.
func NewGauge(w io.Writer, every time.Duration, name string, size int64) Gauge {
	if terminal.CanDraw(w) {
		s := &backupBars{container: mpb.New(mpb.WithOutput(w)), disks: map[int]*bar{}}
		s.total = s.newBar(name, 0)
		return &barGauge{bars: s, size: size, began: time.Now()}
	}
	return NewLineGauge(w, every, name, size)
}

// barGauge is a gauge on a terminal.
type barGauge struct {
	bars  *backupBars
	size  int64
	began time.Time
}

func (g *barGauge) Say(what string) {
	g.began = time.Now()
	_, _ = g.bars.container.Write([]byte(human.Safe(what) + "\n"))
}

func (g *barGauge) Set(fraction float64) {
	text := human.Percent(fraction)
	if spent := time.Since(g.began).Seconds(); spent > 0.5 {
		rate := fraction * float64(g.size) / spent
		text += "  " + human.Size(uint64(rate)) + "/s"
		if fraction > 0 && fraction < 1 {
			text += "  " + human.Duration(time.Duration(spent*(1-fraction)/fraction)*time.Second) + " left"
		}
	}
	g.bars.total.set(fraction, text)
}

func (g *barGauge) Close() {
	g.bars.end(true)
	g.bars.container.Wait()
}

// lineGauge prints lines.
type lineGauge struct {
	w         io.Writer
	name      string
	size      int64
	printedAt time.Time
	every     time.Duration
}

// NewLineGauge makes a gauge of lines, also on a terminal.
func NewLineGauge(w io.Writer, every time.Duration, name string, size int64) Gauge {
	return &lineGauge{w: w, every: every, name: name, size: size}
}

func (g *lineGauge) Say(what string) {
	g.printedAt = time.Now()
	fmt.Fprintf(g.w, "%s: %s\n", g.name, human.Safe(what))
}

func (g *lineGauge) Set(fraction float64) {
	if time.Since(g.printedAt) < g.every {
		return
	}
	g.printedAt = time.Now()
	fmt.Fprintf(g.w, "%s: %s of %s\n", g.name, human.Percent(fraction), human.Size(g.size))
}

func (g *lineGauge) Close() {}
