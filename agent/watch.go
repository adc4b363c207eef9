package agent

import (
	"context"
	"time"

	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// Watch sends every change of the selected backups or restores, and the progress of running backups once a second. The first events are
// the present state of each active record, or of the record asked for. The channel is closed when ctx or the agent ends. A reader that is
// too slow loses events, blocks nobody, and is told how many it lost.
func (a *Agent) Watch(ctx context.Context, q events.Query) (<-chan events.Event, error) {
	w := &events.Watcher{Query: q, Events: make(chan events.Event, events.WatchQueue)}
	a.watchers.Add(w) // before the present state is read, so that no change is lost
	present, err := a.present(q)
	if err != nil {
		a.watchers.Remove(w)
		return nil, err
	}
	out := make(chan events.Event)
	err = a.jobs.Spawn(func() {
		defer close(out)
		defer a.watchers.Remove(w)
		for _, e := range present {
			if !deliver(ctx, a.jobs.Work, out, e) {
				return
			}
		}
		a.pump(ctx, w, out)
	})
	if err != nil {
		a.watchers.Remove(w)
		return nil, err
	}
	return out, nil
}

// present returns the present state of what a watcher selects.
func (a *Agent) present(q events.Query) ([]events.Event, error) {
	if q.Restores {
		return a.presentRestores(q)
	}
	if q.BackupID != "" {
		b, err := a.Records.Backup(q.BackupID)
		return []events.Event{{Kind: events.State, Backup: b}}, err
	}
	active, err := a.store.Active()
	if err != nil {
		return nil, fault.From(err)
	}
	var list []events.Event
	for _, b := range active {
		if q.VMName == "" || q.VMName == b.VM.Name {
			list = append(list, events.Event{Kind: events.State, Backup: b})
		}
	}
	more, err := a.presentRepositories(q)
	return append(list, more...), err
}

// presentRepositories returns the paused repositories and the held prunes that a watcher selects.
func (a *Agent) presentRepositories(q events.Query) (list []events.Event, err error) {
	if q.Pauses {
		pauses, err := a.store.Pauses()
		if err != nil {
			return nil, fault.From(err)
		}
		for _, p := range pauses {
			list = append(list, events.Event{Kind: events.RepositoryPaused, Pause: &p})
		}
	}
	if !q.Prunes {
		return list, nil
	}
	held, err := a.Policies.HeldPrunes()
	for _, h := range held {
		if q.VMName == "" || q.VMName == h.VMName {
			list = append(list, events.Event{Kind: events.PruneHeld, Held: &h})
		}
	}
	return list, err
}

func (a *Agent) presentRestores(q events.Query) ([]events.Event, error) {
	if q.RestoreID != "" {
		r, err := a.Records.Restore(q.RestoreID)
		return []events.Event{{Kind: events.State, Restore: &r}}, err
	}
	active, err := a.store.ActiveRestores()
	if err != nil {
		return nil, fault.From(err)
	}
	var list []events.Event
	for _, r := range active {
		if q.VMName == "" || q.VMName == r.VMName {
			list = append(list, events.Event{Kind: events.State, Restore: &r})
		}
	}
	return list, nil
}

// pump passes on the events of a watcher, and samples progress.
func (a *Agent) pump(ctx context.Context, w *events.Watcher, out chan<- events.Event) {
	tick := time.NewTicker(events.ProgressInterval)
	defer tick.Stop()
	for {
		select {
		case e := <-w.Events:
			if !deliver(ctx, a.jobs.Work, out, e) {
				return
			}
		case <-tick.C:
			if e, lost := a.watchers.Owed(w); lost && !deliver(ctx, a.jobs.Work, out, e) {
				return
			}
			for _, e := range a.progressEvents(ctx, w) {
				if !deliver(ctx, a.jobs.Work, out, e) {
					return
				}
			}
		case <-ctx.Done():
			return
		case <-a.jobs.Work.Done():
			return
		}
	}
}

func deliver(ctx, work context.Context, out chan<- events.Event, e events.Event) bool {
	select {
	case out <- e:
		return true
	case <-ctx.Done():
	case <-work.Done():
	}
	return false
}

// progressEvents returns the progress of every running backup that a watcher selects.
func (a *Agent) progressEvents(ctx context.Context, w *events.Watcher) []events.Event {
	active, err := a.store.Active()
	if err != nil {
		a.log.Error("the database cannot be read", logkey.Error, err)
		return nil
	}
	var list []events.Event
	for _, b := range active {
		if !w.Wants(b) || (b.State != record.Running && b.State != record.Unresolved) {
			continue
		}
		if p, err := a.Backups.ProgressOf(ctx, b); err == nil {
			list = append(list, events.Event{Kind: events.Progress, Backup: b, Progress: &p})
		}
	}
	return list
}
