package units

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/units/pair"
)

// TestCredentialIsNotTold searches for a credential in all places where others could find it. The command has a copy of its own, also
// after the source file is removed.
func TestCredentialIsNotTold(t *testing.T) {
	m := open(t)
	const secret = "Sh2kQmPzR7"
	source := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(source, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s := shell(t, m, sleeper)
	s.Credentials = []pair.Credential{{ID: "key", Source: source}}
	u := mustStart(t, m, s)
	for path, content := range map[string]string{
		"systemctl show":   run(t, "systemctl", "show", "--all", s.Name+".service", s.Name+".socket"),
		"systemctl cat":    run(t, "systemctl", "cat", s.Name+".service", s.Name+".socket"),
		"systemctl status": run(t, "systemctl", "status", "--no-pager", s.Name+".service"),
		"journal":          run(t, "journalctl", "--no-pager", "--output=export"),
		"ps":               run(t, "ps", "axeww"),
		"environment":      readProc(t, u.MainPID, "environ"),
		"command line":     readProc(t, u.MainPID, "cmdline"),
	} {
		if strings.Contains(content, secret) {
			t.Errorf("%s tells it", path)
		}
		if len(content) == 0 {
			t.Errorf("%s: nothing was looked at", path)
		}
	}
	run(t, "systemctl", "daemon-reload")
	if err := os.Remove(source); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(pair.CredentialPath(s.Name, "key")); err != nil || string(content) != secret {
		t.Errorf("the copy: %q, %v", content, err)
	}
	if err := m.Remove(t.Context(), s.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(pair.CredentialPath(s.Name, "key")); !os.IsNotExist(err) {
		t.Errorf("the copy outlives the command: %v", err)
	}
}

// TestCredentialMissing: without the file the command does not start. 243 is EXIT_CREDENTIALS in systemd.exec(5).
func TestCredentialMissing(t *testing.T) {
	m := open(t)
	s := shell(t, m, sleeper)
	s.Credentials = []pair.Credential{{ID: "key", Source: "/nonexistent/key"}}
	if _, err := m.Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), "exit status 243") {
		t.Errorf("%v", err)
	}
}

func readProc(t *testing.T, pid int, file string) string {
	t.Helper()
	content, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
