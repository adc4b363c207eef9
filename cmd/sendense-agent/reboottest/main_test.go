package reboottest_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/testprogram"
)

// stepEnv has this executable take a step within a machine, instead of running tests. dirEnv names the directory that
// outlives the machine.
const (
	stepEnv = "REBOOTTEST_STEP"
	dirEnv  = "REBOOTTEST_DIR"
)

// patient bounds a step, for a machine that is very busy: what takes longer hangs.
const patient = 5 * time.Minute

func TestMain(m *testing.M) {
	steps := map[string]func(context.Context, string) error{"before": before, "after": after}
	step := steps[os.Getenv(stepEnv)]
	if step == nil {
		if err := testprogram.Build("", nil, "./cmd/sendense-agent", "./agent/sna/snatest/snasim"); err != nil {
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

// program is the path of one of the programs that are tested.
func program(name string) string { return testprogram.Path(name) }
