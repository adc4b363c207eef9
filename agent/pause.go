package agent

import (
	"context"
	"time"

	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// PauseRepository pauses a repository for maintenance: nothing new starts there, and what runs ends by itself. The pause is on record, so it
// survives a restart. A repository that is paused already stays so; a reason that is given replaces the earlier one.
func (a *Agent) PauseRepository(_ context.Context, id, reason string) (record.Pause, error) {
	r, err := a.Repositories.Find(id)
	if err != nil {
		return record.Pause{}, err
	}
	if reason, err = record.PauseReason(reason); err != nil {
		return record.Pause{}, fault.New(fault.InvalidRequest, "%w", err)
	}
	p, changed, err := a.store.Pause(record.Pause{Repository: r.ID, Since: time.Now(), Reason: reason})
	if err != nil {
		return p, fault.New(fault.Internal, "repository %s cannot be paused: %w", r.ID, err)
	}
	if changed {
		a.log.Info("repository paused: nothing new starts there", logkey.Repository, r.ID, logkey.Reason, p.Reason)
		a.watchers.Tell(events.Event{Kind: events.RepositoryPaused, Pause: &p})
		a.Backups.NudgeAll() // those in the queue say what they wait for
	}
	return p, nil
}

// ResumeRepository ends the pause of a repository, if it is paused, and returns its id. What waited for that starts.
func (a *Agent) ResumeRepository(_ context.Context, id string) (string, error) {
	r, err := a.Repositories.Find(id)
	if err != nil {
		return "", err
	}
	was, err := a.store.Resume(r.ID)
	if err != nil {
		return "", fault.New(fault.Internal, "repository %s cannot be resumed: %w", r.ID, err)
	}
	if was {
		a.log.Info("repository resumed", logkey.Repository, r.ID)
		a.watchers.Tell(events.Event{Kind: events.RepositoryResumed, Pause: &record.Pause{Repository: r.ID, Since: time.Now()}})
		a.Backups.NudgeAll()
		a.unitsChanged.Raise() // the reconciler continues what it put off
	}
	return r.ID, nil
}

// Activity is what is in progress in a repository.
type Activity struct {
	Backups, Queued, Restores, Merges, Verifications int
}

// Activities returns what is in progress, by repository. It reads no repository.
func (a *Agent) Activities() (map[string]Activity, error) {
	list := map[string]Activity{}
	add := func(repository string, count func(*Activity)) {
		activity := list[repository]
		count(&activity)
		list[repository] = activity
	}
	active, err := a.store.Active()
	if err != nil {
		return nil, fault.From(err)
	}
	for _, b := range active {
		if b.State == record.Queued {
			add(b.Repository, func(a *Activity) { a.Queued++ })
		} else {
			add(b.Repository, func(a *Activity) { a.Backups++ })
		}
	}
	restores, err := a.store.ActiveRestores()
	if err != nil {
		return nil, fault.From(err)
	}
	for _, r := range restores {
		add(r.Repository, func(a *Activity) { a.Restores++ })
	}
	for id := range a.Merges.Active.List() {
		if b, err := a.Records.Backup(id); err == nil {
			add(b.Repository, func(a *Activity) { a.Merges++ })
		}
	}
	for repository, n := range a.Verifications.Active() {
		add(repository, func(a *Activity) { a.Verifications += n })
	}
	return list, nil
}

// pauses returns the paused repositories, by id. What cannot be read is left out; the log has the error.
func (a *Agent) pauses() map[string]*record.Pause {
	list, err := a.store.Pauses()
	if err != nil {
		a.log.Error("the database cannot be read", logkey.Error, err)
	}
	byID := map[string]*record.Pause{}
	for _, p := range list {
		byID[p.Repository] = &p
	}
	return byID
}
