package merge

import (
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/store"
)

// A rewriting waits for three things, in this order, and holds of each only what those before it gave:
//
//   - its turn in the chain. Rewritings of which one reads what the other exchanges are done in the order in which they were asked
//     for. Each waits for earlier ones only, so that no two wait for each other and nobody is passed over for ever.
//   - the slot of all copies (Agent.merging). Who holds it waits for nobody.
//   - the readers of the restore point, with its images made. A restore may be open for days: whoever is of another chain goes on
//     meanwhile.

// chainSet is a restore point and all that it stands on, as far as it is on record.
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

// earlier is a rewriting of the same chain that was asked for before this one and has not ended; nil for none. What a restore
// point stands on only becomes less while others are rewritten, so the chain as it was claimed holds all that may matter.
func (w *Merge) earlier() *Merge {
	for id, other := range w.service.Active.List() {
		if !other.settling && other.turn < w.turn && (w.chain[id] || other.chain[w.ID]) {
			return other
		}
	}
	return nil
}

// awaitTurn waits until no earlier rewriting of the chain is under way.
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

// readerPatience is how long a finished rewriting waits for those that read the restore point. A restore may be served for days.
const readerPatience = time.Hour

// swap exchanges the directories, once nobody reads or verifies the restore point, and has the record follow. While it waits, the
// new images give way to backups that need their room.
func (w *Merge) swap(p *plan) error {
	stop := w.watchRoom(p)
	err := w.exchangeUnread(p)
	stop()
	if err != nil {
		return err
	}
	// From here on it only goes forward: the next agent finds the manifest.
	err = w.UntilDone("a completed merge cannot be recorded", func() error { return w.service.settle(w.ID) })
	if err != nil {
		return job.ErrStopping
	}
	return nil
}

func (w *Merge) exchangeUnread(p *plan) error {
	for deadline := time.Now().Add(readerPatience); ; {
		err := w.service.Verifications.Exclusively(w.ID, func() error { return w.exchange(p) })
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

// readerOf says whom an exchange has to wait for; "" when it failed for another reason.
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

// park notes that somebody has to be waited for.
func (w *Merge) park(fraction float64, whom string) {
	w.mu.Lock()
	first := w.waitsFor != whom
	w.phase, w.fraction, w.waitsFor = phaseWaiting, max(fraction, w.fraction), whom
	w.mu.Unlock()
	if first {
		w.service.Log.Info("a merge waits", logkey.BackupID, w.ID, logkey.Reason, whom)
	}
	select {
	case <-w.Parked: // only this goroutine closes it
	default:
		close(w.Parked)
	}
}

// WaitingFor is who is waited for; "" for nobody.
func (w *Merge) WaitingFor() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waitsFor
}
