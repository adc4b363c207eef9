package hubtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/cmd/internal/testprogram"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// SharedCopy copies a program to where every user may run it.
func SharedCopy(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "bin-")
	Must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	Must(t, os.Chmod(dir, 0o755))
	text, err := os.ReadFile(Program(name))
	Must(t, err)
	path := filepath.Join(dir, name)
	Must(t, os.WriteFile(path, text, 0o755))
	return path
}

// Main builds the programs as they are installed, and runs the tests of a package in a machine of their own. It is the whole of a
// package's TestMain.
func Main(m *testing.M) {
	if !systemdtest.Inside() {
		if err := build(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	systemdtest.Main(m)
}

func build() error {
	var flags []string
	if raceEnabled {
		flags = append(flags, "-race")
	}
	return testprogram.Build("", flags, "./cmd/sendense-agent", "./cmd/sendensectl", "./agent/sna/snatest/snasim")
}

// Program is the path of one of the programs.
func Program(name string) string { return testprogram.Path(name) }
