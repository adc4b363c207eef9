package main

import (
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
)

// A gauge shows how one thing comes along that has a size: on a terminal as a bar, elsewhere in lines.
type gauge interface {
	say(what string) // what is being done from now on
	set(fraction float64)
	close()
}

// newGauge makes the gauge that fits where it is shown.
func newGauge(w io.Writer, every time.Duration, name string, size int64) gauge {
	if canDraw(w) {
		s := &backupBars{container: mpb.New(mpb.WithOutput(w)), disks: map[int]*bar{}}
		s.total = s.newBar(name, 0)
		return &barGauge{bars: s, size: size, began: time.Now()}
	}
	return newLineGauge(w, every, name, size)
}

// barGauge is a gauge on a terminal.
type barGauge struct {
	bars  *backupBars
	size  int64
	began time.Time
}

func (g *barGauge) say(what string) {
	g.began = time.Now()
	_, _ = g.bars.container.Write([]byte(safe(what) + "\n"))
}

func (g *barGauge) set(fraction float64) {
	text := percent(fraction)
	if spent := time.Since(g.began).Seconds(); spent > 0.5 {
		rate := fraction * float64(g.size) / spent
		text += "  " + humanSize(uint64(rate)) + "/s"
		if fraction > 0 && fraction < 1 {
			text += "  " + humanDuration(time.Duration(spent*(1-fraction)/fraction)*time.Second) + " left"
		}
	}
	g.bars.total.set(fraction, text)
}

func (g *barGauge) close() {
	g.bars.end(true)
	g.bars.container.Wait()
}

// lineGauge is a gauge whose lines stay.
type lineGauge struct {
	w     io.Writer
	name  string
	size  int64
	told  time.Time
	every time.Duration
}

func newLineGauge(w io.Writer, every time.Duration, name string, size int64) gauge {
	return &lineGauge{w: w, every: every, name: name, size: size}
}

func (g *lineGauge) say(what string) {
	g.told = time.Now()
	fmt.Fprintf(g.w, "%s: %s\n", g.name, safe(what))
}

func (g *lineGauge) set(fraction float64) {
	if time.Since(g.told) < g.every {
		return
	}
	g.told = time.Now()
	fmt.Fprintf(g.w, "%s: %s of %s\n", g.name, percent(fraction), humanSize(g.size))
}

func (g *lineGauge) close() {}

// A fileGauge shows how the reading of files comes along as one gauge, once there is anything to read.
type fileGauge struct {
	w     io.Writer
	every time.Duration
	name  string
	about func(file string) string // what is said when the next file begins
	gauge gauge
	file  string
}

func newFileGauge(w io.Writer, every time.Duration, name string, about func(file string) string) *fileGauge {
	return &fileGauge{w: w, every: every, name: name, about: about}
}

func (g *fileGauge) set(file string, done, total int64) {
	if total == 0 {
		return
	}
	if g.gauge == nil {
		g.gauge = newGauge(g.w, g.every, g.name, total)
	}
	if file != g.file {
		g.file = file
		g.gauge.say(g.about(file))
	}
	g.gauge.set(float64(done) / float64(total))
}

func (g *fileGauge) close() {
	if g.gauge != nil {
		g.gauge.close()
	}
}
