package diagnosis_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

// What is missing in the configuration is named, with what to do, and is not called a fault of the agent or of the tunnel.
func TestErrorsBlameWhatIsWrong(t *testing.T) {
	secrets := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", secrets)
	h := hubtest.New(t, "[vcenter.main]\nhost = \"vcenter.test\"\nuser = \"backup\"\npassword_credential = \"main-password\"")
	h.AddVM("pgtest1", hubtest.DiskSize)
	vm, err := h.Dial().GetVM(t.Context(), "pgtest1")
	hubtest.Must(t, err)
	vm.VCenter = "main"
	_, err = h.Dial().PutVM(t.Context(), vm)
	hubtest.Must(t, err)
	for _, command := range []string{"vm discover main", "backup start pgtest1"} {
		blames(h, hubtest.Words(command), []string{`vcenter "main": its password is not available: credential "main-password"`, "put it into /etc/credstore/main-password"})
	}
	hubtest.Must(t, os.WriteFile(filepath.Join(secrets, "main-password"), []byte("secret"), 0o600))
	blames(h, hubtest.Words("vm discover main"), []string{`vcenter "main": datacenter is empty`, "set datacenter in [vcenter.main] of the configuration, then restart the daemon"})
	checked := hubtest.Start(t, hubtest.Program("sendense-agent"), "check-config", "--config", h.Config)
	if code, exited := checked.Exited(hubtest.Patience); !exited || code != 0 || !strings.Contains(checked.Stderr(), "vcenter.main.datacenter is empty") {
		t.Errorf("check-config: %v %d %s %s", exited, code, checked.Stdout(), checked.Stderr())
	}
	found := false
	for _, f := range h.Doctor().Findings {
		found = found || f.Object == "vcenter.main.datacenter" && f.Status == doctor.Warning && strings.Contains(f.Hint, "set datacenter in [vcenter.main]")
	}
	if !found {
		t.Error("the doctor does not name the datacenter")
	}
}

func blames(h *hubtest.Hub, command, says []string) {
	h.Helper()
	code, stdout, stderr := h.CTL(command...)
	said := strings.Join(strings.Fields(stderr), " ")
	for _, want := range says {
		if code != 1 || stdout != "" || !strings.Contains(said, want) {
			h.Errorf("%q: %d %q %q, want %q", command, code, stdout, said, want)
		}
	}
	for _, wrong := range []string{"tunnel", "internal", "journal", "a fault"} {
		if strings.Contains(said, wrong) {
			h.Errorf("%q blames the %s: %s", command, wrong, said)
		}
	}
}
