package crashtest_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/testprogram"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// patient bounds every wait, for a machine that is very busy: what takes longer hangs.
const patient = 5 * time.Minute

// TestMain builds the daemon with its failpoints and a clock that can be set, runs the tests in a machine of their own, and prints what they found.
func TestMain(m *testing.M) {
	flag.Parse()
	waitTogether()
	if !systemdtest.Inside() {
		if err := buildDaemons(); err != nil {
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
	faultResults.print(os.Stdout)
	powerResults.print(os.Stdout)
	os.Exit(code)
}

// waitTogether has more tests run at the same time than there are cores, unless -parallel says otherwise: they wait for systemd and for
// deadlines about as long as they compute.
func waitTogether() {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(runtime.GOMAXPROCS(0)*3/2)) // there is such a flag
	}
}

// The versions of the two programs that are built.
const (
	oldVersion = "1.0-crashtest"
	newVersion = "2.0-crashtest"
)

// daemon is the path of the daemon's executable, newerDaemon that of one which says that it is newer.
func daemon() string      { return testprogram.Path("sendense-agent") }
func newerDaemon() string { return testprogram.Path("sendense-agent" + newerSuffix) }

// racedDaemon is the path of one with the race detector, if the test has it. Its clock cannot be set.
func racedDaemon() string { return testprogram.Path("sendense-agent" + racedSuffix) }

const (
	newerSuffix = ".newer"
	racedSuffix = ".raced"
)

// buildDaemons builds ordinary daemons, which cost half of the processor time of those with the race detector, also if the test has it.
// TestRandom starts one with it: kills at all points, and everything that is asked of a daemon.
func buildDaemons() error {
	overlay, err := skewedTime()
	if err != nil {
		return err
	}
	for suffix, version := range map[string]string{"": oldVersion, newerSuffix: newVersion} {
		flags := []string{"-tags", "failpoints", "-overlay", overlay, "-ldflags", "-X main.version=" + version}
		if err := testprogram.Build(suffix, flags, "./cmd/sendense-agent"); err != nil {
			return err
		}
	}
	flags := []string{"-tags", "failpoints", "-ldflags", "-X main.version=" + oldVersion}
	if raceEnabled {
		flags = append(flags, "-race")
	}
	return testprogram.Build(racedSuffix, flags, "./cmd/sendense-agent")
}

// skewedTime writes the go tool's overlay by which the daemon's clock can be set: time.Now asks skewedNow.
func skewedTime() (overlay string, err error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	std := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	text, err := os.ReadFile(filepath.Join(std, "time.go"))
	if err != nil {
		return "", err
	}
	const asks = "sec, nsec, mono := runtimeNow()"
	if strings.Count(string(text), asks) != 1 {
		return "", fmt.Errorf("%s/time.go: %q is not there once: this Go has another time.Now, change skewedTime", std, asks)
	}
	changed, err := testprogram.File("time.go", []byte(strings.Replace(string(text), asks, "sec, nsec, mono := skewedNow()", 1)))
	if err != nil {
		return "", err
	}
	added, err := filepath.Abs("testdata/skew.go")
	if err != nil {
		return "", err
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(std, "time.go"): changed, filepath.Join(std, "skew.go"): added,
	}})
	if err != nil {
		return "", err
	}
	return testprogram.File("overlay.json", replace)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
