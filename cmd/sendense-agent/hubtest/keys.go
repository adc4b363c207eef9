package hubtest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// makeKey is what docs/operations.md says.
const makeKey = `(umask 077; head -c 48 /dev/urandom | base64 --wrap=0 > %s)`

// NewKey makes a key as the documents say, and returns its content.
func NewKey(t *testing.T, path string) string {
	t.Helper()
	command := strings.ReplaceAll(makeKey, "%s", path)
	guide, err := os.ReadFile("../../../../docs/operations.md")
	Must(t, err)
	if documented := strings.ReplaceAll(makeKey, "%s", "/etc/credstore/backup-2026"); !strings.Contains(string(guide), documented) {
		t.Errorf("docs/operations.md does not say %s", documented)
	}
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	key, err := os.ReadFile(path)
	Must(t, err)
	return string(key)
}
