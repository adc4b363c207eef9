package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/units/systemdtest"
)

// TestMain builds the programs as they are installed, and then runs the tests in a machine of their own.
func TestMain(m *testing.M) {
	if !systemdtest.Inside() {
		if err := buildPrograms(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	systemdtest.Main(m)
}

// program is the path of one of the programs that are tested. They lie beside the test's executable, in a folder that
// the machine shares and the go tool removes.
func program(name string) string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return filepath.Join(filepath.Dir(exe), "programs", name)
}

func buildPrograms() error {
	args := []string{"build"}
	if raceEnabled {
		args = append(args, "-race")
	}
	args = append(args, "-o", filepath.Dir(program("x"))+"/", "./cmd/sendense-agent", "./cmd/sendensectl", "./agent/sna/snatest/snasim")
	build := exec.Command("go", args...)
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return nil
}
