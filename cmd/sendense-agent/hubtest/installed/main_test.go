// Package installed_test tests what an administrator does on an appliance with the package: the setup, and every command that the
// documents show. The files of the package are in their places; the programs are built as they are released.
package installed_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/sendense/backup-agent/cmd/internal/testprogram"
	"github.com/sendense/backup-agent/units/systemdtest"
)

func TestMain(m *testing.M) {
	if !systemdtest.Inside() {
		os.Setenv("CGO_ENABLED", "0")
		err := testprogram.Build("", []string{"-trimpath"}, "./cmd/sendense-agent", "./cmd/sendensectl", "./agent/sna/snatest/snasim")
		os.Unsetenv("CGO_ENABLED")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	systemdtest.Main(m)
}
