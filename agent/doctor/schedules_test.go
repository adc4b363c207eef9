package doctor

import (
	"errors"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
)

// TestSchedules: a calendar that systemd cannot read stops backups; a group without a schedule and a VM without a group are warnings.
func TestSchedules(t *testing.T) {
	c := config.Default()
	c.Groups = []config.Group{{ID: "a"}, {ID: "b"}}
	c.Schedules = []config.Schedule{{ID: "good", Groups: []string{"a"}, Calendar: "22:00"}, {ID: "bad", Groups: []string{"a"}, Calendar: "at ten"}}
	want := map[string]Status{"good": OK, "bad": Error, "group b": Warning}
	for _, f := range schedules(t.Context(), c) {
		if want[f.Object] != f.Status {
			t.Errorf("%+v, want %q", f, want[f.Object])
		}
		delete(want, f.Object)
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}
	forgotten := grouped([]record.VM{{Name: "x"}, {Name: "y"}}, nil)
	if f := forgotten[0]; f.Status != Warning || !strings.Contains(f.Message, "2, such as x, y") {
		t.Errorf("%+v", f)
	}
	if f := grouped(nil, nil)[0]; f.Status != OK {
		t.Errorf("%+v", f)
	}
	if f := grouped(nil, errors.New("no"))[0]; f.Status != Skipped {
		t.Errorf("%+v", f)
	}
}
