package server

import (
	"context"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// A fakeSource returns channels to which a test sends events. Like the agent's they close when the context of the watch ends.
type fakeSource struct {
	begun chan *fakeWatch
	last  record.State // of every backup
}

type fakeWatch struct {
	ctx    context.Context
	query  events.Query
	events chan events.Event
}

func newFakeSource() *fakeSource { return &fakeSource{begun: make(chan *fakeWatch, 1000)} }

func (s *fakeSource) rows() []method {
	return append(specTable(), watchRow(backups(s.watch, s.backup)), unwatchRow("backup.unwatch"))
}

func (s *fakeSource) watch(ctx context.Context, q events.Query) (<-chan events.Event, error) {
	if q.BackupID == "gone" {
		return nil, &fault.Error{Reason: fault.BackupNotFound, Message: "gone"}
	}
	w := &fakeWatch{ctx, q, make(chan events.Event)}
	out := make(chan events.Event)
	go func() {
		defer close(out)
		for {
			select {
			case e, ok := <-w.events:
				if !ok {
					return
				}
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	s.begun <- w
	return out, nil
}

func (s *fakeSource) backup(id string) (record.Backup, error) {
	return record.Backup{ID: id, State: s.last}, nil
}

func (w *fakeWatch) tell(t *testing.T, states ...record.State) {
	t.Helper()
	for _, s := range states {
		w.send(t, events.Event{Kind: events.State, Backup: record.Backup{ID: "b", State: s}})
	}
}

func (w *fakeWatch) send(t *testing.T, e events.Event) {
	t.Helper()
	select {
	case w.events <- e:
	case <-w.ctx.Done():
	case <-time.After(time.Minute):
		t.Fatal("no watch takes events")
	}
}

// ends fails the test if the watch does not end soon.
func (w *fakeWatch) ends(t *testing.T) {
	t.Helper()
	select {
	case <-w.ctx.Done():
	case <-time.After(time.Minute):
		t.Fatal("the watch continues")
	}
}
