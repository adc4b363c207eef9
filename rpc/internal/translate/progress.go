package translate

import (
	"context"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/rpc"
)

// Progress is the progress of a backup on the wire.
func Progress(p record.Progress) rpc.Progress {
	w := rpc.Progress{
		ReceivedBytes:  p.ReceivedBytes,
		TotalBytes:     p.TotalBytes,
		BytesPerSecond: p.BytesPerSecond,
		CopiedBytes:    p.CopiedBytes,
		Fraction:       p.Fraction,
		ClientReport:   p.ClientReport,

		FractionUnknown: p.FractionUnknown,

		ETASeconds: int64((p.ETA + time.Second - 1) / time.Second),
		Disks:      make([]rpc.DiskProgress, 0, len(p.Disks)),
	}
	for _, d := range p.Disks {
		w.Disks = append(w.Disks, rpc.DiskProgress(d))
	}
	if t := p.Telemetry; t != nil {
		told := rpc.Telemetry(*t)
		told.At = told.At.UTC()
		w.Telemetry = &told
	}
	return w
}

// BackupWithProgress is the record of a backup, with its progress while it is active. If its exports do not answer, it is the
// record alone.
func BackupWithProgress(ctx context.Context, a *agent.Agent, id string) (rpc.Backup, error) {
	b, err := a.Records.Backup(id)
	w := Backup(b)
	if err == nil && b.Merge != nil {
		w.Merge = merge(a, id)
	}
	if err != nil || b.State.Terminal() {
		return w, err
	}
	w.Stalled, w.WaitsFor = a.Backups.Stalled(id), a.Backups.WaitsFor(id)
	addProgress(ctx, a, b, &w)
	return w, nil
}

// BackupsWithProgress is a page of backups, with the progress of the active ones.
func BackupsWithProgress(ctx context.Context, a *agent.Agent, list []record.Backup, next string) rpc.BackupPage {
	page := BackupPage(list, next)
	var wait sync.WaitGroup
	for i, b := range list {
		w := &page.Backups[i]
		w.WaitsFor = a.Backups.WaitsFor(b.ID)
		if !b.State.Terminal() {
			wait.Go(func() { addProgress(ctx, a, b, w) })
		}
	}
	wait.Wait()
	return page
}

// addProgress adds the progress of an active backup, if its exports answer.
func addProgress(ctx context.Context, a *agent.Agent, b record.Backup, w *rpc.Backup) {
	if progress, err := a.Backups.ProgressOf(ctx, b); err == nil {
		copied(w, progress)
		p := Progress(progress)
		w.Progress = &p
	}
}

// WatchQuery is what backup.watch asks for.
func WatchQuery(r rpc.WatchRequest) events.Query {
	every := r.BackupID == ""
	return events.Query{BackupID: r.BackupID, VMName: r.VMName, Prunes: r.Prunes && every, Pauses: r.Pauses && every}
}

// Event is an event on the wire.
func Event(watchID int64, e events.Event) rpc.Event {
	w := rpc.Event{WatchID: watchID, Kind: rpc.EventKind(e.Kind), Dropped: e.Dropped}
	switch {
	case e.Held != nil:
		w.HeldPrune = &HeldPrunes([]record.HeldPrune{*e.Held})[0]
	case e.Pause != nil:
		w.RepositoryID = e.Pause.Repository
		if e.Kind == events.RepositoryPaused {
			w.Pause = pauseOf(e.Pause)
		}
	case e.Imported != nil:
		w.RepositoryID, w.Import = e.Imported.Repository, importOf(e.Imported)
	case e.Restore != nil:
		r := Restore(*e.Restore)
		w.Restore = &r
	case e.Kind != events.Dropped:
		b := Backup(e.Backup)
		w.Backup = &b
	}
	if e.Progress != nil {
		p := Progress(*e.Progress)
		w.Progress = &p
	}
	return w
}
