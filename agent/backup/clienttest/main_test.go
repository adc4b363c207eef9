package clienttest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/units/systemdtest"
)

func TestMain(m *testing.M) {
	if systemdtest.Inside() {
		if err := giveCredentials(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	agenttest.Main(m)
}

// giveCredentials writes the credentials of all tests where systemd puts those of the daemon: a key, and the password of a vCenter. No
// test changes them, so the tests can run in parallel.
func giveCredentials() error {
	dir, err := os.MkdirTemp("", "credentials-") // with the mode that systemd gives it
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "key-1"), []byte(agenttest.FirstKey), 0o400),
		os.WriteFile(filepath.Join(dir, "vcenter-main"), []byte("secret-word\n"), 0o400),
		os.Setenv("CREDENTIALS_DIRECTORY", dir))
}
