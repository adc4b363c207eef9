package reboottest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// stepEnv has this executable take a step within a machine, instead of running tests. dirEnv names the directory that
// outlives the machine.
const (
	stepEnv = "REBOOTTEST_STEP"
	dirEnv  = "REBOOTTEST_DIR"
)

// patient bounds a step: what takes longer hangs.
const patient = 2 * time.Minute

func TestMain(m *testing.M) {
	steps := map[string]func(context.Context, string) error{"before": before, "after": after}
	step := steps[os.Getenv(stepEnv)]
	if step == nil {
		if err := buildPrograms(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if err := step(ctx, os.Getenv(dirEnv)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // nothing is left to be cancelled
	}
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
	build := exec.Command("go", "build", "-o", filepath.Dir(program("x"))+"/", "./cmd/sendense-agent", "./agent/sna/snatest/snasim")
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return nil
}
