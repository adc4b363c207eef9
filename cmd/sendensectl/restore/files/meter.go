package files

import (
	"io"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/progress"
	"github.com/sendense/backup-agent/rpc/guestfiles"
)

// A meter counts and shows the received bytes.
type meter struct {
	r         io.Reader
	view      progress.Gauge
	size      int64 // 0: not known
	bytes     int64
	printedAt time.Time
	every     time.Duration
}

func newMeter(a *command.App, r io.Reader, name string, e guestfiles.Entry) *meter {
	m := &meter{r: r, printedAt: time.Now(), every: a.ProgressEvery}
	if e.Kind() == guestfiles.ModeRegular {
		m.size = e.SizeBytes
		m.view = progress.NewGauge(a.Stderr, a.ProgressEvery, name, m.size)
	} else {
		m.view = progress.NewLineGauge(a.Stderr, a.ProgressEvery, name, 0)
	}
	m.view.Say("copying")
	return m
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.bytes += int64(n)
	switch {
	case m.size > 0:
		m.view.Set(float64(m.bytes) / float64(m.size))
	case time.Since(m.printedAt) > m.every:
		m.printedAt = time.Now()
		m.view.Say(human.Size(m.bytes))
	}
	return n, err
}
