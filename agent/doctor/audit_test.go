package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/audit"
	"github.com/sendense/backup-agent/agent/config"
)

// TestAuditLog: a log that is whole, changed or cannot be written, and none.
func TestAuditLog(t *testing.T) {
	cfg := config.Default()
	cfg.Agent.StateDirectory = t.TempDir()
	want := func(found []Finding, status Status, message string) {
		t.Helper()
		if f := found[0]; f.Status != status || !strings.Contains(f.Message, message) || status == Warning && f.Hint == "" {
			t.Errorf("%+v, want %s, %s", f, status, message)
		}
	}
	want(auditLog(cfg, true), OK, "none yet")
	l, err := audit.Open(auditPath(cfg), 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := l.Append(audit.Entry{Kind: audit.Request, Method: "vm.put"}, true); err != nil {
			t.Fatal(err)
		}
	}
	want(auditLog(cfg, true), OK, "lines 1 to 2")
	file := filepath.Join(auditPath(cfg), "audit-000000000001.jsonl")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "vm.put", "vm.get", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	want(auditLog(cfg, true), Warning, "line 2: the line before it, number 1, was changed")
	want(auditWritten(cfg, nil), OK, "written")
	want(auditWritten(cfg, errors.New("no space left on device")), Warning, "no space left")
	cfg.Audit.Enabled = false
	want(auditLog(cfg, true), Skipped, "audit.enabled is false")
	want(auditWritten(cfg, nil), Skipped, "audit.enabled is false")
}
