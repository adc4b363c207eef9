package backup

import (
	"context"
	"time"

	"github.com/sendense/backup-agent/agent/backup/progress"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd/sockets"
)

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
	switch {
	case j == nil:
		return progress.Summarize(b, progress.Recorded(b)), nil
	case b.State != record.Running && b.State != record.Unresolved:
		return progress.Summarize(b, j.meter.LastSeen(progress.Recorded(b))), nil
	}
	err := j.meter.Expect(b, func() ([]record.Backup, error) {
		return s.Store.PointsOf(store.PointGroup{Repository: b.Repository, VM: b.VM.Name})
	})
	if err != nil {
		return record.Progress{}, fault.From(err)
	}
	if j.meter.Stale() {
		disks, err := s.sampleSoon(ctx, b)
		if err != nil {
			return record.Progress{}, fault.From(err)
		}
		j.meter.Take(disks, time.Now())
	}
	p := j.meter.Progress(b, s.Exports.AcceptsZeroes())
	_, last := j.inquiry.Answer()
	p.ClientReport = last.String()
	return p, nil
}

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
	disks := progress.Recorded(b)
	for i, d := range b.Runs {
		if u, ok := loaded[d.Unit]; ok {
			disks[i].ReceivedBytes = max(u.ReceivedBytes, d.ReceivedBytes)
		}
		disks[i].Clients = clients[d.Port]
	}
	return disks, nil
}
