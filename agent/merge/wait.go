package merge

import (
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
)

// A merge waits for three things, in this order:
//
//   - earlier merges of the chain. If one merge reads what another one exchanges, they are done first in, first out. A merge waits
//     only for earlier ones, so no two wait for each other, and none waits for ever.
//   - the slot for copies in its repository (Service.slots). The merge that holds it waits for nothing.
//   - the readers of the restore point, after its images are made. The merge does not hold the slot then: a restore may be open for
//     days, and merges of other chains continue.

// chainSet is a restore point and all that it is based on, as far as they are on record.
func (s *Service) chainSet(id string) (map[string]bool, error) {
	set := map[string]bool{}
	for next := id; next != "" && !set[next]; {
		b, err := s.Records.Backup(next)
		if fault.From(err).Has(fault.BackupNotFound) && next != id {
			break
		}
		if err != nil {
			return nil, err
		}
		set[next], next = true, b.Parent
	}
	return set, nil
}

// earlier returns a merge of the same chain that was requested before this one and has not ended; nil for none. Other merges only
// shorten the chain of a restore point, so the chain as it was claimed has all that matters.
func (w *Merge) earlier() *Merge {
	for id, other := range w.service.Active.List() {
		if !other.settling && other.turn < w.turn && (w.chain[id] || other.chain[w.ID]) {
			return other
		}
	}
	return nil
}

// awaitTurn waits until no earlier merge of the chain is in progress.
func (w *Merge) awaitTurn() error {
	for other := w.earlier(); other != nil; other = w.earlier() {
		w.park(0, fmt.Sprintf("the merge of backup %s in the same chain", other.ID))
		select {
		case <-other.Done:
		case <-w.Ctx.Done():
			return w.Ctx.Err()
		}
	}
	w.progress(phaseWaiting, 0)
	return nil
}

// readerPatience is how long a merge with finished images waits for readers of the restore point. A restore may be served for days.
const readerPatience = time.Hour

// finish commits the merge when no restore and no verification reads the restore point, and then updates the record. If a backup
// needs the space while finish waits, the merge is canceled and its new images are removed.
func (w *Merge) finish(p *plan) error {
	stop := w.watchRoom(p)
	err := w.commitUnread(p)
	stop()
	if err != nil && !errors.Is(err, repository.ErrMidMerge) {
		return err
	}
	// The merge is committed and cannot go back: after a crash the next agent finds the new manifest.
	err = w.UntilDone("a completed merge cannot be recorded", func() error { return w.service.settle(w.ID) })
	if err != nil {
		return job.ErrStopping
	}
	return nil
}

// commitUnread commits the merge, and waits for readers first.
func (w *Merge) commitUnread(p *plan) error {
	for deadline := time.Now().Add(readerPatience); ; {
		err := w.service.Verifications.Exclusively(w.Ctx, p.repo.ID, w.ID, func() error { return w.commit(p) })
		if err == nil {
			return nil
		}
		reader := readerOf(err)
		if reader == "" {
			return err
		}
		if time.Now().After(deadline) {
			return Refused(w.ID, err)
		}
		w.park(1, reader)
		if err := w.Sleep(time.Second); err != nil {
			return err
		}
	}
}

// readerOf names the reader that a commit waits for; "" if the commit failed for another reason.
func readerOf(err error) string {
	var read *store.ReadError
	switch {
	case errors.As(err, &read):
		return read.Reader
	case fault.From(err).Has(fault.BeingVerified):
		return "a verification of it"
	}
	return ""
}

// park notes what the job waits for.
func (w *Merge) park(fraction float64, whom string) {
	w.mu.Lock()
	first := w.waitsFor != whom
	w.phase, w.fraction, w.waitsFor = phaseWaiting, max(fraction, w.fraction), whom
	w.mu.Unlock()
	if first {
		w.service.Log.Info("a merge waits", logkey.BackupID, w.ID, logkey.Reason, whom)
	}
	select {
	case <-w.Parked: // only this job closes it
	default:
		close(w.Parked)
	}
}

// WaitingFor is what the job waits for; "" for nothing.
func (w *Merge) WaitingFor() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waitsFor
}
