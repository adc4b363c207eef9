package crashtest_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sendense/backup-agent/units/systemdtest"
)

// patient bounds every wait: what takes longer hangs.
const patient = time.Minute

// TestMain builds the daemon with its failpoints, runs the tests in a machine of their own, and prints what they found.
func TestMain(m *testing.M) {
	flag.Parse()
	if !systemdtest.Inside() {
		if err := buildDaemon(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		systemdtest.Main(m)
	}
	if err := installUnits(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	results.print(os.Stdout)
	os.Exit(code)
}

// daemon is the path of the daemon's executable. It lies beside the test's, in a folder that the machine shares and the
// go tool removes.
func daemon() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return filepath.Join(filepath.Dir(exe), "programs", "sendense-agent")
}

func buildDaemon() error {
	args := []string{"build", "-tags", "failpoints"}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "-o", daemon(), "./cmd/sendense-agent")...)
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the daemon: %w\n%s", err, out)
	}
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
