package snatest

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest/client"
	"github.com/sendense/backup-agent/agent/sna/snatest/fault"
	"github.com/sendense/backup-agent/agent/sna/snatest/vcenter"
)

const defaultTelemetry = 5 * time.Second

// Options configure a [Server]. The zero value serves an empty vCenter.
type Options struct {
	// Listen is the address to serve on, 127.0.0.1 and a free port when empty.
	Listen string
	VMs    []vcenter.VM
	// Callback is the base URL of the SHA's API. When empty SBC calls nobody.
	Callback string
	// RequestBytes is the largest write or write-zeroes: a multiple of 512 up to
	// 32 MiB, which is also the default.
	RequestBytes int64
	// NoSampling reads every piece of a disk before it is written as zeroes. The real
	// SBC reads five samples of 8 KiB, and loses what is between them.
	NoSampling bool
	// TelemetryInterval is the longest time between two reports, 5 s when 0.
	TelemetryInterval time.Duration
	// RetryDelay is the wait before the first of three retries of a piece that
	// failed, doubled each time: 1 s when 0, none when negative. It never
	// reconnects, so after its connection has failed SBC continues for seven
	// seconds, and the time to read the piece four times.
	RetryDelay time.Duration
	// SnapshotBeforeAnswer takes the snapshot before the 200 is sent, so that a test
	// may write to the sources as soon as its POST has returned. The real SBC
	// takes it later; see also [Server.WaitSnapshot].
	SnapshotBeforeAnswer bool
	// ReadInPlace reads the sources themselves instead of a copy, for measurements
	// with large disks that nobody writes to.
	ReadInPlace bool
	// NoChangeTracking computes no digests; no later run can be incremental.
	NoChangeTracking bool
	// OldContract accepts a start that names its VM by vm_name only and holds no
	// vCenter fields.
	OldContract bool
	// Dir is the directory of the snapshots, the system's temporary directory when
	// empty. They have no names there, so nothing can be left behind.
	Dir string
	// Faults are switched on from the start.
	Faults fault.Faults
	// Quiesce is called before a snapshot is taken, and thaw after it: a writer in
	// the same process stops in between. Writers in other processes hold a shared
	// flock on every source that they write to.
	Quiesce func(vmPath string) (thaw func())
	// Logger gets SBC's log lines; nil drops them.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.RequestBytes == 0 {
		o.RequestBytes = client.MaxRequestBytes
	}
	if o.TelemetryInterval == 0 {
		o.TelemetryInterval = defaultTelemetry
	}
	if o.RetryDelay == 0 {
		o.RetryDelay = client.FirstRetryGap
	}
	if o.Dir == "" {
		o.Dir = os.TempDir()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Quiesce == nil {
		o.Quiesce = func(string) func() { return func() {} }
	}
	o.Callback = strings.TrimRight(o.Callback, "/")
	if o.RequestBytes < 512 || o.RequestBytes > client.MaxRequestBytes || o.RequestBytes%512 != 0 {
		return o, fmt.Errorf("request bytes %d: must be a multiple of 512 up to %d", o.RequestBytes, client.MaxRequestBytes)
	}
	return o, nil
}
