package systemdtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// exitNotStarted is the exit status if the command could not be started, as of env(1) and nsenter(1).
const exitNotStarted = 127

// markerFile exists inside a machine and nowhere else: /run is private to it.
const markerFile = "/run/systemdtest/machine.json"

// Main runs the tests of a package inside a machine with the zero Options and exits the process. It is
// all that a TestMain needs.
func Main(m *testing.M) { MainWith(m, Options{}) }

// MainWith is Main for a machine with the given options.
func MainWith(m *testing.M, o Options) {
	if Inside() {
		os.Exit(m.Run())
	}
	exe, err := os.Executable()
	if err != nil {
		fmt.Fprintf(os.Stderr, "systemdtest: path of this executable: %v\n", err)
		os.Exit(exitNotStarted)
	}
	code, err := Run(context.Background(), o, append([]string{exe}, os.Args[1:]...)...)
	if err != nil {
		fmt.Fprintf(os.Stderr, "systemdtest: %v\n", err)
	}
	os.Exit(code)
}

// Inside reports whether this process runs inside a machine of this package.
func Inside() bool {
	_, err := os.Stat(markerFile)
	return !errors.Is(err, fs.ErrNotExist)
}

// Run boots a machine, runs one command inside it with this process's standard streams, environment and
// working directory, ends the machine and returns the command's exit status. If a signal ended the
// command, that is 128 plus its number; if the command did not start, it is 127, with an error. Run
// forwards SIGINT, SIGTERM, SIGQUIT and SIGHUP to the command.
func Run(ctx context.Context, o Options, argv ...string) (code int, err error) {
	if len(argv) == 0 {
		return exitNotStarted, errors.New("no command to run in the machine")
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)

	machine, err := Boot(ctx, o)
	if err != nil {
		return exitNotStarted, err
	}
	defer func() { err = errors.Join(err, machine.Close()) }()

	cmd := machine.Command(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return exitNotStarted, fmt.Errorf("run %s in the machine: %w", argv[0], err)
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s)
			case <-done:
				return
			}
		}
	}()
	return exitCode(cmd.Wait())
}
