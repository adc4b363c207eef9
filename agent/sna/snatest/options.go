package snatest

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
)

// Limits and defaults of [Options].
const (
	MinConnections     = 2
	MaxConnections     = 10
	MaxRequestBytes    = 32 << 20
	defaultTelemetry   = 5 * time.Second
	telemetryTimeout   = 10 * time.Second
	trackingBlockBytes = 64 << 10
)

// VM is one virtual machine of the simulated vCenter.
type VM struct {
	ID    string `json:"id,omitempty"` // config.uuid; made of the path when empty
	Name  string `json:"name,omitempty"`
	Path  string `json:"path"` // inventory path, such as "/DC1/vm/pgtest1"
	Disks []Disk `json:"disks"`
}

// Disk is one virtual disk; SBC copies the disks in the order of VM.Disks.
type Disk struct {
	Key        int    `json:"key"` // VirtualDisk.Key, such as 2000
	Label      string `json:"label,omitempty"`
	UnitNumber int    `json:"unit_number"`
	// CapacityBytes is the disk's size; the size of the source when 0. Beyond the
	// end of a shorter source the disk reads as zeroes.
	CapacityBytes int64  `json:"capacity_bytes,omitempty"`
	Source        string `json:"source"` // a raw file or block device
	Datastore     string `json:"datastore,omitempty"`
	// UUID is that of the disk's change ids. When empty, each key of a VM has one of its own from its first snapshot on.
	UUID string `json:"uuid,omitempty"`
}

// Options configure a [Server]. The zero value serves an empty vCenter.
type Options struct {
	// Listen is the address to serve on, 127.0.0.1 and a free port when empty.
	Listen string
	VMs    []VM
	// Callback is the base URL of the SHA's API. When empty SBC calls nobody.
	Callback string
	// Connections per disk, 2 to 10; 2 when 0.
	Connections int
	// RequestBytes is the largest write or write-zeroes, up to 32 MiB, which is
	// also the default; a multiple of 512.
	RequestBytes int64
	// TelemetryInterval is the longest time between two reports, 5 s when 0.
	TelemetryInterval time.Duration
	// TelemetryBytes is the distance between two reports; a tenth when 0.
	TelemetryBytes int64
	// RetryDelay is the wait before the first of three retries of a failed
	// request, doubled each time: 1 s in the real SBC. 0 gives up at once. There
	// is no reconnect, so a retry over a dead connection always fails.
	RetryDelay time.Duration
	// SnapshotBeforeAnswer takes the snapshot before the 200 is sent, so that a
	// test may write to the sources as soon as its POST returned. The real SBC
	// takes it later; see also [Server.WaitSnapshot].
	SnapshotBeforeAnswer bool
	// ReadInPlace reads the sources themselves instead of a copy, for
	// measurements on large disks that nobody writes to.
	ReadInPlace bool
	// NoChangeTracking spares the digests; no later run can be incremental.
	NoChangeTracking bool
	// OldContract accepts a start that names its VM by vm_name only and holds no
	// vCenter fields.
	OldContract bool
	// Dir holds the snapshots, the system's temporary directory when empty. They
	// have no names there, so nothing is left behind whatever happens.
	Dir string
	// Faults are switched on from the start.
	Faults Faults
	// Quiesce is called before a snapshot is taken, thaw after: a writer that
	// lives in the same process stops in between. Writers in other processes hold
	// a shared flock on every source that they write to.
	Quiesce func(vmPath string) (thaw func())
	// Logger gets SBC's log lines; nil drops them.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Connections == 0 {
		o.Connections = MinConnections
	}
	if o.RequestBytes == 0 {
		o.RequestBytes = MaxRequestBytes
	}
	if o.TelemetryInterval == 0 {
		o.TelemetryInterval = defaultTelemetry
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
	switch {
	case o.Connections < MinConnections || o.Connections > MaxConnections:
		return o, fmt.Errorf("connections %d: must be %d to %d", o.Connections, MinConnections, MaxConnections)
	case o.RequestBytes < 512 || o.RequestBytes > MaxRequestBytes || o.RequestBytes%512 != 0:
		return o, fmt.Errorf("request bytes %d: must be a multiple of 512 up to %d", o.RequestBytes, MaxRequestBytes)
	}
	return o, nil
}

// complete checks a VM and fills in what its file may leave out.
func (vm VM) complete(number int) (VM, error) {
	if !strings.HasPrefix(vm.Path, "/") {
		return vm, fmt.Errorf("vm %q: path must be an inventory path, such as /DC1/vm/pgtest1", vm.Path)
	}
	if vm.Name == "" {
		vm.Name = lastSegment(vm.Path)
	}
	if vm.ID == "" {
		vm.ID = "42" + vm.Path
	}
	disks := make([]Disk, 0, len(vm.Disks))
	for i, disk := range vm.Disks {
		disk, err := disk.complete(i)
		if err != nil {
			return vm, fmt.Errorf("vm %s: disk %d: %w", vm.Path, i, err)
		}
		disks = append(disks, disk)
	}
	vm.Disks = disks
	return vm, nil
}

func (d Disk) complete(index int) (Disk, error) {
	if d.Key < 0 || d.CapacityBytes < 0 {
		return d, errors.New("key and capacity must not be negative")
	}
	size, err := sourceSize(d.Source)
	if err != nil {
		return d, err
	}
	if d.CapacityBytes == 0 {
		d.CapacityBytes = size
	}
	if size > d.CapacityBytes {
		return d, fmt.Errorf("source %s holds %d bytes, more than the capacity of %d", d.Source, size, d.CapacityBytes)
	}
	if d.Label == "" {
		d.Label = fmt.Sprintf("Hard disk %d", index+1)
	}
	if d.Datastore == "" {
		d.Datastore = "datastore1"
	}
	return d, nil
}

func lastSegment(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
