package progress

import (
	"io"
	"time"
)

// A FileGauge shows the reading of several files as one gauge. It shows nothing until there is something to read.
type FileGauge struct {
	w     io.Writer
	every time.Duration
	name  string
	about func(file string) string // the text when the next file begins
	gauge Gauge
	file  string
}

// NewFileGauge makes the gauge of a reading that is called name.
func NewFileGauge(w io.Writer, every time.Duration, name string, about func(file string) string) *FileGauge {
	return &FileGauge{w: w, every: every, name: name, about: about}
}

// Set shows that done of total bytes are read, and which file is read now.
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

// Close removes the gauge.
func (g *FileGauge) Close() {
	if g.gauge != nil {
		g.gauge.Close()
	}
}
