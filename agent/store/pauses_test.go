package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
)

// TestPause: a pause keeps its time, takes a new reason, and survives a restart. Both requests may be repeated.
func TestPause(t *testing.T) {
	s := openNew(t)
	want := record.Pause{Repository: "local", Since: start, Reason: "new disks"}
	for i, p := range []record.Pause{
		{Repository: "local", Since: start},
		{Repository: "local", Since: start.Add(time.Hour)},
		{Repository: "local", Since: start.Add(time.Hour), Reason: "new disks"},
		{Repository: "local", Since: start.Add(time.Hour)},
	} {
		now, changed, err := s.Pause(p)
		if err != nil || changed != (i%2 == 0) || !now.Since.Equal(start) {
			t.Errorf("request %d: %+v, changed %v, error %v", i, now, changed, err)
		}
	}
	if _, _, err := s.Pause(record.Pause{Since: start}); err == nil {
		t.Error("a repository without an id is paused")
	}
	if got, paused, err := s.PauseOf("local"); err != nil || !paused || got != want {
		t.Errorf("got %+v, %v, error %v", got, paused, err)
	}
	if got, err := s.Pauses(); err != nil || !cmp.Equal(got, []record.Pause{want}) {
		t.Errorf("got %+v, error %v", got, err)
	}
	for _, was := range []bool{true, false} {
		if got, err := s.Resume("local"); err != nil || got != was {
			t.Errorf("it was paused: %v, want %v, error %v", got, was, err)
		}
	}
	if got, paused, err := s.PauseOf("local"); err != nil || paused {
		t.Errorf("got %+v, %v, error %v", got, paused, err)
	}
}
