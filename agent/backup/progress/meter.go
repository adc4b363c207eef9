// Package progress says how much of a backup is copied, how fast, and how long the rest takes. It computes, from counters that its caller
// reads.
package progress

import (
	"slices"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// sampleAge is how old a sample of the counters may be. Watchers share a sample, so many of them cost systemd no more than one.
const sampleAge = 500 * time.Millisecond

// rateWindow is the time over which a rate is measured.
const rateWindow = 10 * time.Second

// stalledRate is the rate below which nothing is copied: a connection that is only kept alive has some traffic.
const stalledRate = 1 << 10

// maxETA is the longest time left that is shown. A longer estimate is based on too little data.
const maxETA = 30 * 24 * time.Hour

// A Meter holds what the exports of a backup have received, and what SBC reported about itself. The zero value holds nothing. Its methods
// may be called from several goroutines at once.
type Meter struct {
	mu       sync.Mutex
	disks    []record.DiskProgress
	at       time.Time // of disks
	history  []reading // of the last rateWindow
	told     *position
	expected map[int]uint64 // what earlier backups received; nil until it is known
}

type reading struct {
	at       time.Time
	received uint64
}

// Stale says whether the last sample is too old.
func (m *Meter) Stale() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.at) > sampleAge
}

// Take keeps a sample.
func (m *Meter) Take(disks []record.DiskProgress, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disks, m.at = disks, now
	var sum uint64
	for _, d := range disks {
		sum += d.ReceivedBytes
	}
	m.history = append(m.history, reading{now, sum})
	for len(m.history) > 2 && now.Sub(m.history[0].at) > rateWindow {
		m.history = m.history[1:]
	}
}

// Tell keeps what SBC reports about itself. b is the record at that time: the report is about the disk after those that are complete.
func (m *Meter) Tell(b record.Backup, t record.Telemetry) {
	complete := 0
	for _, d := range b.Runs {
		if d.Complete {
			complete++
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = &position{t, complete}
}

// Expect keeps what earlier backups of the VM received. It asks for its restore points, the newest first, once in the life of the meter.
func (m *Meter) Expect(b record.Backup, points func() ([]record.Backup, error)) error {
	m.mu.Lock()
	known := m.expected != nil
	m.mu.Unlock()
	if known {
		return nil
	}
	list, err := points()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expected = expectations(b, list)
	return nil
}

// Progress is the progress by the last sample. zeroes says that the exports accept WRITE_ZEROES: they receive less than is copied.
func (m *Meter) Progress(b record.Backup, zeroes bool) record.Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := estimator{backup: b, zeroes: zeroes, told: m.told, expected: m.expected}
	p := e.progress(slices.Clone(m.disks))
	p.BytesPerSecond = m.rate()
	if m.told != nil {
		told := m.told.telemetry
		p.Telemetry = &told
	}
	if !b.SeenAt.IsZero() {
		p.ETA = eta(p, time.Since(b.SeenAt))
	}
	return p
}

// LastSeen adds to the progress of the record what was seen last of the exports: the record has it only after they have ended.
func (m *Meter) LastSeen(disks []record.DiskProgress) []record.DiskProgress {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, d := range disks {
		for _, seen := range m.disks {
			if seen.DiskID == d.DiskID {
				disks[i].ReceivedBytes = max(d.ReceivedBytes, seen.ReceivedBytes)
			}
		}
	}
	return disks
}

// rate is in bytes per second. The caller holds mu.
func (m *Meter) rate() float64 {
	if len(m.history) < 2 {
		return 0
	}
	first, last := m.history[0], m.history[len(m.history)-1]
	if last.received < first.received {
		return 0
	}
	return float64(last.received-first.received) / last.at.Sub(first.at).Seconds()
}

// eta is the estimated time left: the elapsed time, scaled by the part that is done. It is 0 if it is not known. If no data arrives
// it is not known, because a stalled copy would show a few seconds for hours.
func eta(p record.Progress, elapsed time.Duration) time.Duration {
	if p.BytesPerSecond < stalledRate || p.Fraction <= 0 || p.Fraction >= 1 {
		return 0
	}
	left := elapsed.Seconds() * (1 - p.Fraction) / p.Fraction
	if left >= maxETA.Seconds() {
		return 0
	}
	return time.Duration(left) * time.Second
}
