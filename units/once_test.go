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

// TestRunOnceCredential: a command finds its credential in a directory of its own. One whose credential is missing does not start.
func TestRunOnceCredential(t *testing.T) {
	m := open(t)
	hidden := t.TempDir() // as root's commands must not see the credentials of the daemon, from which theirs come
	source := filepath.Join(hidden, "secret")
	if err := os.WriteFile(source, []byte("opensesame"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := pair.Command{
		Argv: []string{"/bin/sh", "-c", `test "$(cat "$CREDENTIALS_DIRECTORY/key")" = opensesame && test ! -w "$CREDENTIALS_DIRECTORY/key" && ! cat "$0"`, source},
		User: "root", Hide: []string{hidden},
		Limit: patience, Credentials: []pair.Credential{{ID: "key", Source: source}},
	}
	c.Name = newName(t, m)
	if err := m.RunOnce(within(t), c); err != nil {
		t.Error(err)
	}
	c.Name, c.Credentials[0].Source = newName(t, m), source+"-none"
	if err, failed := m.RunOnce(within(t), c), new(CommandError); !errors.As(err, &failed) {
		t.Error(err)
	}
}

// TestStopCommands: the commands with a prefix are stopped, and no others.
func TestStopCommands(t *testing.T) {
	m := open(t)
	ends := map[string]chan error{}
	var names []string
	for range 2 {
		name := newName(t, m)
		c := pair.Command{Name: name, Argv: []string{"/bin/sleep", "600"}, Limit: time.Hour}
		ends[name] = make(chan error, 1)
		names = append(names, name)
		go func() { ends[name] <- m.RunOnce(t.Context(), c) }()
		eventually(t, name+" runs", func() bool {
			u, err := m.Get(within(t), name)
			return err == nil && u.MainPID > 0
		})
	}
	if err := m.StopCommands(within(t), names[0]); err != nil {
		t.Fatal(err)
	}
	if err, failed := <-ends[names[0]], new(CommandError); !errors.As(err, &failed) {
		t.Error(err)
	}
	if u, err := m.Get(within(t), names[1]); err != nil || u.MainPID == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if err := m.StopCommands(within(t), names[1]); err != nil {
		t.Error(err)
	}
	<-ends[names[1]]
}
