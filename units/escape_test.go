package units

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/units/pair"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// escapes are what a qemu-nbd under the control of a hostile image or client would try. Each must fail; "=" marks one that must
// succeed, so that the test cannot pass because nothing works at all.
var escapes = []struct{ what, command string }{
	{"=write its own image", `echo x >"$OWN/image"`},
	{"=read its parent's image", `cat "$PARENT/image"`},
	{"read the image of another VM", `cat "$OTHER/image"`},
	{"see that there is another VM", `ls -d "$OTHER"`},
	{"write its parent's image", `echo x >"$PARENT/image"`},
	{"reach it through a link", `ln -s "$OTHER/image" "$OWN/link" && cat "$OWN/link"`},
	{"reach it through a root of another process", `cat "/proc/1/root$OTHER/image"`},
	{"=read its own key", `cat "$KEY"`},
	{"read the key of another export", `cat "$OTHERKEY"`},
	{"read it where it comes from", `cat "$KEYS/key" "$KEYS/other"`},
	{"write its own key", `chmod u+w "$KEY" || echo x >"$KEY"`},
	{"read secrets of the host", `cat /etc/shadow`},
	{"write the host's files", `echo x >/etc/x || echo x >/var/lib/x || echo x >/run/x`},
	{"open a network connection", `(exec 3<>/dev/tcp/127.0.0.1/1) 2>&1 | grep -q refused`},
	{"speak to the agent or to systemd", `busctl --timeout=5 list`},
	{"see the processes of others", `test -e /proc/1/comm`},
	{"signal others", `kill -0 1`},
	{"mount", `mount -t tmpfs none "$OWN"`},
	{"make a namespace", `unshare --user true || unshare --mount true`},
	{"become another user", `setpriv --reuid=0 true`},
	{"make a device", `mknod "$OWN/disk" b 8 0`},
	{"trace", `test "$(grep -c . /proc/1/maps)" -gt 0`},
	{"keep capabilities", `grep -q '^CapBnd:.*[1-9a-f]' /proc/self/status`},
	{"gain privileges by a set-uid program", `grep -q '^NoNewPrivs:.*0$' /proc/self/status`},
	{"run what it has written", `printf '#!/bin/sh\n' >"$OWN/program" && chmod 4755 "$OWN/program"`},
}

func TestEscape(t *testing.T) {
	m := open(t)
	repository := systemdtest.DiskDir(t)
	for _, name := range []string{"own", "parent", "other"} {
		dir := filepath.Join(repository, name)
		run(t, "install", "-d", "-o", "sendense-nbd", dir)
		// All belong to the exporters' user: only the sandbox protects them, no permission does.
		run(t, "install", "-o", "sendense-nbd", "-m", "644", "/etc/hostname", filepath.Join(dir, "image"))
	}
	own := filepath.Join(repository, "own")
	s, keys, otherKey := withKeys(t, m, "/bin/bash "+filepath.Join(own, "script"))
	var script strings.Builder
	fmt.Fprintf(&script, "export OWN=%q PARENT=%q OTHER=%q KEY=%q OTHERKEY=%q KEYS=%q\n", own,
		filepath.Join(repository, "parent"), filepath.Join(repository, "other"), pair.CredentialPath(s.Name, "key"), otherKey, keys)
	for i, e := range escapes {
		fmt.Fprintf(&script, "( %s ) >>\"$OWN/output\" 2>&1; echo \"%d $?\" >>\"$OWN/results\"\n", e.command, i)
	}
	// These may succeed inside the sandbox. They must have no effect outside.
	outside := []string{filepath.Join(repository, "escaped"), "/tmp/escaped", "/home/escaped", "/dev/shm/escaped"}
	for _, path := range outside {
		fmt.Fprintf(&script, "echo x >%q\n", path)
	}
	script.WriteString("mv \"$OWN/results\" \"$OWN/done\"; sleep 1000\n")
	if err := os.WriteFile(filepath.Join(own, "script"), []byte(script.String()), 0o755); err != nil {
		t.Fatal(err)
	}
	s.HiddenDirs, s.WritableDirs, s.ReadOnlyDirs = []string{repository}, []string{own}, []string{filepath.Join(repository, "parent")}
	mustStart(t, m, s)
	var results []byte
	eventually(t, "the end of the script", func() (ok bool) {
		var err error
		results, err = os.ReadFile(filepath.Join(own, "done"))
		return err == nil
	})
	for _, path := range outside {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s was written", path)
		}
	}
	output, _ := os.ReadFile(filepath.Join(own, "output"))
	for i, e := range escapes {
		what, must := strings.CutPrefix(e.what, "=")
		if did := strings.Contains("\n"+string(results), fmt.Sprintf("\n%d 0\n", i)); did != must {
			t.Errorf("%s: succeeded %t, want %t\n%s", what, did, must, output)
		}
	}
}

// withKeys adds a key to a pair, and starts another pair of the same user with another key. It returns the directory with the source
// files of the keys, and the path of the other pair's key.
func withKeys(t *testing.T, m *Manager, script string) (s pair.Spec, keys, otherKey string) {
	t.Helper()
	keys = t.TempDir()
	for _, id := range []string{"key", "other"} {
		if err := os.WriteFile(filepath.Join(keys, id), []byte("secret of "+id), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, other := shell(t, m, script), shell(t, m, sleeper)
	s.User, s.Group, other.User, other.Group = "sendense-nbd", "sendense-nbd", "sendense-nbd", "sendense-nbd"
	s.Credentials = []pair.Credential{{ID: "key", Source: filepath.Join(keys, "key")}}
	other.Credentials = []pair.Credential{{ID: "other", Source: filepath.Join(keys, "other")}}
	mustStart(t, m, other)
	otherKey = pair.CredentialPath(other.Name, "other")
	if content, err := os.ReadFile(otherKey); err != nil || string(content) != "secret of other" { // so that there is something to read
		t.Fatalf("%q, %v", content, err)
	}
	return s, keys, otherKey
}
