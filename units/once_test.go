package units

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/units/pair"
)

// TestRunOnce: a command gets its input, its end is reported, and nothing of its unit stays.
func TestRunOnce(t *testing.T) {
	m := open(t)
	hidden := t.TempDir()
	if err := os.WriteFile(filepath.Join(hidden, "file"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(hidden, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		script, want string // want: of the error; "" = none
		limit        time.Duration
	}{
		"succeeds":      {script: `test "$(cat)" = 'in $HOME %n' && test "$(id -u)" -ge 61184`},
		"fails":         {script: "echo the disk is full >&2; exit 3", want: "the disk is full"},
		"too long":      {script: "sleep 600", want: "start operation timed out", limit: time.Second},
		"writes /etc":   {script: "echo x >/etc/once", want: "Read-only file system"},
		"reads hidden":  {script: "cat " + hidden + "/file", want: "cat: "},
		"no privileges": {script: "mount -t tmpfs none /mnt", want: "mount"},
	} {
		t.Run(name, func(t *testing.T) {
			c := pair.Command{
				Name: newName(t, m), Argv: []string{"/bin/sh", "-c", tt.script}, Input: []byte("in $HOME %n"), Limit: max(tt.limit, patience), Hide: []string{hidden},
			}
			if tt.limit > 0 {
				c.Limit = tt.limit
			}
			err := m.RunOnce(within(t), c)
			failed := new(CommandError)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (!errors.As(err, &failed) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want %q", err, tt.want)
			}
			eventually(t, "the unit is forgotten", func() bool {
				_, err := m.Get(within(t), c.Name)
				return errors.Is(err, ErrNotFound)
			})
		})
	}
}

// TestRunOnceCanceled: a command for which nobody waits is stopped.
func TestRunOnceCanceled(t *testing.T) {
	m := open(t)
	c := pair.Command{Name: newName(t, m), Argv: []string{"/bin/sleep", "600"}, Limit: time.Hour}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("no time")
	go func() {
		for {
			if u, err := m.Get(ctx, c.Name); err == nil && u.MainPID > 0 {
				cancel(cause)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	if err := m.RunOnce(ctx, c); !errors.Is(err, cause) {
		t.Error(err)
	}
	eventually(t, "the unit is forgotten", func() bool {
		_, err := m.Get(within(t), c.Name)
		return errors.Is(err, ErrNotFound)
	})
}
