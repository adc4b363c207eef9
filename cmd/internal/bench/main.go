// Bench measures the agent beside its alternatives, on one machine, in one run, in turns: "make bench" and "make soak". It boots a machine
// of package systemdtest and runs itself again inside it, with the daemon and a simulated SNA as processes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// settings are the options of a run.
type settings struct {
	programs string        // directory of sendense-agent and snasim
	disk     string        // directory on a real disk; everything is made below it
	out      string        // file for the report
	only     string        // sections, with commas between; empty for all
	rounds   int           // turns of each contender
	size     int64         // bytes of a disk of the data path
	records  int           // records of the filled database
	soak     time.Duration // how long the soak takes, instead of the sections
	check    bool          // compare the stable ratios with their limits, instead of the report
}

func main() {
	s, err := parse(os.Args[1:])
	if err == nil && !systemdtest.Inside() {
		err = boot(s)
	} else if err == nil {
		err = inside(s)
	}
	var exit exitError
	if errors.As(err, &exit) {
		os.Exit(int(exit))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	var s settings
	var mib int64
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	flags.StringVar(&s.programs, "programs", "bin", "`directory` of sendense-agent and snasim")
	flags.StringVar(&s.disk, "disk", "/var/tmp", "`directory` on the disk that is measured")
	flags.StringVar(&s.out, "out", "", "`file` for the report, in addition to standard output")
	flags.StringVar(&s.only, "only", "", "`sections` to run, separated by commas: "+strings.Join(sectionNames(), ","))
	flags.IntVar(&s.rounds, "rounds", 9, "turns of each contender")
	flags.Int64Var(&mib, "mib", 1024, "`MiB` of the disk that is copied")
	flags.IntVar(&s.records, "records", 100_000, "records of the filled database")
	flags.DurationVar(&s.soak, "soak", 0, "instead: start, finish and cancel backups for so long, and fail if resources leak")
	flags.BoolVar(&s.check, "check", false, "instead: fail if a stable ratio exceeds its limit")
	_ = flags.Parse(args) // it exits by itself
	s.size = mib << 20
	if flags.NArg() > 0 {
		return s, fmt.Errorf("argument %q: unknown; use flags", flags.Arg(0))
	}
	if s.rounds < 1 || mib < 8 || s.records < 1 {
		return s, errors.New("rounds and records must be at least 1, and mib at least 8")
	}
	for _, name := range s.sections() {
		if !slices.Contains(sectionNames(), name) {
			return s, fmt.Errorf("section %q: unknown; the sections are %s", name, strings.Join(sectionNames(), ", "))
		}
	}
	return s, s.absolute()
}

func (s settings) sections() []string {
	if s.only == "" {
		return sectionNames()
	}
	return strings.Split(s.only, ",")
}

func (s *settings) absolute() error {
	for _, path := range []*string{&s.programs, &s.disk, &s.out} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	return nil
}

// exitError is the exit status of the part inside, which has reported the reason.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// boot runs this program again in its own machine, with a directory of the disk.
func boot(s settings) (err error) {
	if err := checkTools(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.disk, "sendense-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	options := systemdtest.Options{Binds: []string{dir, s.programs}}
	if s.out != "" {
		options.Binds = append(options.Binds, filepath.Dir(s.out))
	}
	argv := append([]string{exe}, os.Args[1:]...)
	code, err := systemdtest.Run(context.Background(), options, append(argv, "-disk", dir)...)
	if err == nil && code != 0 {
		err = exitError(code)
	}
	return err
}

// inside runs the sections, the soak or the check.
func inside(s settings) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	switch {
	case s.soak > 0:
		return soak(ctx, s)
	case s.check:
		return check(ctx, s)
	}
	report := figures.New(s.disk, s.rounds)
	for _, name := range s.sections() {
		began := time.Now()
		part, err := sections[indexOf(name)].run(ctx, s)
		if err != nil {
			fmt.Printf("%s\n(incomplete)\n", part.Text())
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Printf("%s\n(%s took %s)\n\n", part.Text(), name, time.Since(began).Round(time.Second))
		report.Parts = append(report.Parts, part)
		if s.out == "" {
			continue
		}
		if err := os.WriteFile(s.out, []byte(report.Text()), 0o644); err != nil { // keep the results even if the next section fails
			return err
		}
	}
	return nil
}
