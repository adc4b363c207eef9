package units

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The Manager reports about the host what systemctl reports.
func TestHost(t *testing.T) {
	m := open(t)
	version, err := m.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemctl", "--version").Output()
	if err != nil || !strings.Contains(string(out), "("+version+")") {
		t.Errorf("version %q: %v %s", version, err, out)
	}
	for unit, want := range map[string]UnitState{
		"dbus.socket":    {"loaded", "active", "running"},
		"nobody.service": {"not-found", "inactive", "dead"},
	} {
		if got, err := m.State(t.Context(), unit); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", unit, got, err, want)
		}
	}
	if _, err := m.State(t.Context(), "no unit"); err == nil {
		t.Error("a name that no unit can have is answered")
	}
}

func TestCredentials(t *testing.T) {
	m := open(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("word"), 0o600); err != nil {
		t.Fatal(err)
	}
	const unit = "sendense-test-credentials.service"
	start := exec.Command("systemd-run", "--quiet", "--unit", unit, "--property=LoadCredential=one:"+secret,
		"--property=LoadCredential=two:passed.on", "--property=SetCredential=three:word", "sleep", "1000")
	if out, err := start.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("systemctl", "stop", unit).Run() })
	got, err := m.Credentials(t.Context(), unit)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"one": secret, "two": ""}, got); diff != "" {
		t.Error(diff)
	}
	if got, err := m.Credentials(t.Context(), "dbus.service"); err != nil || len(got) > 0 {
		t.Errorf("a service without: %v, %v", got, err)
	}
}
