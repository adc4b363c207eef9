package backup

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd/sockets"
)

// sampleAge is how old a sample of the counters may be. Watchers share a sample, so many of them cost systemd no more than one.
const sampleAge = 500 * time.Millisecond

// rateWindow is the time over which a rate is measured.
const rateWindow = 10 * time.Second

// A meter holds what the exports of a backup have received, and what SBC reported about itself.
type meter struct {
	mu       sync.Mutex
	disks    []record.DiskProgress
	at       time.Time // of disks
	history  []reading // of the last rateWindow
	told     *toldPosition
	expected map[int]uint64 // what earlier backups received; nil until it is asked for
}

type reading struct {
	at       time.Time
	received uint64
}

// Progress returns the progress of a backup. Without a job it is what the record says.
func (s *Service) Progress(ctx context.Context, id string) (record.Progress, error) {
	b, err := s.Records.Backup(id)
	if err != nil {
		return record.Progress{}, err
	}
	return s.ProgressOf(ctx, b)
}

// ProgressOf is Progress for a record that the caller has read.
func (s *Service) ProgressOf(ctx context.Context, b record.Backup) (record.Progress, error) {
	j := s.Job(b.ID)
	if j == nil || (b.State != record.Running && b.State != record.Unresolved) {
		return Summarize(b, j.lastSeen(Recorded(b))), nil
	}
	if err := s.expect(j, b); err != nil {
		return record.Progress{}, err
	}
	if j.meter.stale() {
		disks, err := s.sampleSoon(ctx, b)
		if err != nil {
			return record.Progress{}, fault.From(err)
		}
		j.meter.mu.Lock()
		j.meter.take(disks, time.Now())
		j.meter.mu.Unlock()
	}
	j.meter.mu.Lock()
	defer j.meter.mu.Unlock()
	e := estimator{backup: b, zeroes: s.Exports.AcceptsZeroes(), told: j.meter.told, expected: j.meter.expected}
	p := e.progress(slices.Clone(j.meter.disks))
	p.BytesPerSecond = j.meter.rate()
	_, last := j.inquiry.Answer()
	p.ClientReport = last.String()
	if t := j.meter.told; t != nil {
		told := t.telemetry
		p.Telemetry = &told
	}
	if !b.SeenAt.IsZero() {
		p.ETA = eta(p, time.Since(b.SeenAt))
	}
	return p, nil
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

// stalledRate is the rate below which nothing is copied: a connection that is only kept alive has some traffic.
const stalledRate = 1 << 10

// maxETA is the longest time left that is shown. A longer estimate is based on too little data.
const maxETA = 30 * 24 * time.Hour

// sampleSoon is sample with a timeout, so that a missing bus does not block the caller.
func (s *Service) sampleSoon(ctx context.Context, b record.Backup) ([]record.DiskProgress, error) {
	ctx, cancel := context.WithTimeout(ctx, export.BusTimeout)
	defer cancel()
	stop := context.AfterFunc(s.Jobs.Work, cancel)
	defer stop()
	return s.sample(ctx, b)
}

// sample reads the counters of every export of a backup.
func (s *Service) sample(ctx context.Context, b record.Backup) ([]record.DiskProgress, error) {
	loaded, err := s.Exports.List(ctx, b.ID)
	if err != nil {
		return nil, err
	}
	clients, err := sockets.Clients()
	if err != nil {
		return nil, err
	}
	disks := Recorded(b)
	for i, d := range b.Runs {
		if u, ok := loaded[d.Unit]; ok {
			disks[i].ReceivedBytes = max(u.ReceivedBytes, d.ReceivedBytes)
		}
		disks[i].Clients = clients[d.Port]
	}
	return disks, nil
}

// Recorded is the progress of the disks according to the record.
func Recorded(b record.Backup) []record.DiskProgress {
	disks := make([]record.DiskProgress, len(b.Runs))
	for i, d := range b.Runs {
		disks[i] = record.DiskProgress{
			DiskID: d.DiskID, ReceivedBytes: d.ReceivedBytes, CapacityBytes: d.CapacityBytes, Complete: d.Complete,
		}
	}
	return disks
}

// stale says whether the last sample is too old.
func (m *meter) stale() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.at) > sampleAge
}

// take stores a sample. The caller holds mu.
func (m *meter) take(disks []record.DiskProgress, now time.Time) {
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

// rate is in bytes per second. The caller holds mu.
func (m *meter) rate() float64 {
	if len(m.history) < 2 {
		return 0
	}
	first, last := m.history[0], m.history[len(m.history)-1]
	if last.received < first.received {
		return 0
	}
	return float64(last.received-first.received) / last.at.Sub(first.at).Seconds()
}

// Summarize adds up the progress of the disks, without what only a job knows.
func Summarize(b record.Backup, disks []record.DiskProgress) record.Progress {
	return estimator{backup: b}.progress(disks)
}

// lastSeen adds to the progress of the record what was seen last of the exports: the record has it only after they have ended.
func (j *Job) lastSeen(disks []record.DiskProgress) []record.DiskProgress {
	if j == nil {
		return disks
	}
	j.meter.mu.Lock()
	defer j.meter.mu.Unlock()
	for i, d := range disks {
		for _, seen := range j.meter.disks {
			if seen.DiskID == d.DiskID {
				disks[i].ReceivedBytes = max(d.ReceivedBytes, seen.ReceivedBytes)
			}
		}
	}
	return disks
}

// expect looks up, once for a job, what earlier backups of the VM received.
func (s *Service) expect(j *Job, b record.Backup) error {
	j.meter.mu.Lock()
	known := j.meter.expected != nil
	j.meter.mu.Unlock()
	if known {
		return nil
	}
	points, err := s.Store.PointsOf(store.PointGroup{Repository: b.Repository, VM: b.VM.Name})
	if err != nil {
		return fault.From(err)
	}
	j.meter.mu.Lock()
	defer j.meter.mu.Unlock()
	j.meter.expected = expectations(b, points)
	return nil
}
