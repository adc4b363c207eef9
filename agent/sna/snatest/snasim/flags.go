package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/sendense/backup-agent/agent/sna/snatest"
)

func parseFlags(args []string, stderr io.Writer) (snatest.Options, error) {
	var (
		options snatest.Options
		faults  []string
	)
	flags := flag.NewFlagSet("snasim", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&options.Listen, "listen", "127.0.0.1:9081", "address to serve the SNA's API on")
	flags.StringVar(&options.Callback, "callback", "", "base `URL` of the SHA's API that SBC calls; no calls when empty")
	flags.Func("vm", "`file` with one VM in JSON, or an array of VMs; may be repeated", func(path string) error {
		vms, err := readVMs(path)
		options.VMs = append(options.VMs, vms...)
		return err
	})
	flags.Func("fault", "a `fault` from the start; may be repeated; one of\n"+snatest.FaultHelp(), func(spec string) error {
		faults = append(faults, spec)
		return nil
	})
	flags.Int64Var(&options.RequestBytes, "request-bytes", snatest.MaxRequestBytes, "largest NBD write")
	flags.DurationVar(&options.TelemetryInterval, "telemetry-interval", 0, "longest time between two reports (default 5s)")
	flags.BoolVar(&options.NoSampling, "no-sampling", false, "read a chunk before it is written as zeroes; the real SBC does not")
	flags.DurationVar(&options.RetryDelay, "retry-delay", 0, "wait before the first of three retries (default 1s; negative for none)")
	flags.BoolVar(&options.SnapshotBeforeAnswer, "snapshot-before-answer", false, "take the snapshot before the start is answered")
	flags.BoolVar(&options.ReadInPlace, "in-place", false, "read the sources themselves, not a copy; they must not change")
	flags.BoolVar(&options.NoChangeTracking, "no-change-tracking", false, "keep no digests; every copy is then full")
	flags.BoolVar(&options.OldContract, "old-contract", false, "accept a start without vCenter fields and path")
	flags.StringVar(&options.Dir, "dir", "", "directory for snapshots (default the system's temporary one)")
	if err := flags.Parse(args); err != nil {
		return options, err
	}
	if flags.NArg() > 0 {
		return options, fmt.Errorf("argument %q: unknown; use flags", flags.Arg(0))
	}
	var err error
	options.Faults, err = snatest.ParseFaults(faults...)
	return options, err
}

// readVMs reads a file with one VM or an array of VMs.
func readVMs(path string) ([]snatest.VM, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	content = bytes.TrimSpace(content)
	if !bytes.HasPrefix(content, []byte("[")) {
		content = bytes.Join([][]byte{[]byte("["), content, []byte("]")}, nil)
	}
	var vms []snatest.VM
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&vms); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return vms, nil
}
