package snatest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
)

// Limits and defaults of [Options].
const (
	MaxRequestBytes    = 32 << 20
	defaultTelemetry   = 5 * time.Second
	telemetryTimeout   = 10 * time.Second
	trackingBlockBytes = 64 << 10
)

// VM is one virtual machine of the simulated vCenter.
type VM struct {
	// ID is config.uuid, which clones may share; made of the path when empty.
	ID    string `json:"id,omitempty"`
	Name  string `json:"name,omitempty"`
	Path  string `json:"path"`  // inventory path, such as "/DC1/vm/pgtest1"
	Disks []Disk `json:"disks"` // in the order of the VM's hardware
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
	// FileBytes is the size of its files on the datastore, by which SBC counts;
	// what the source has allocated when 0.
	FileBytes int64 `json:"file_bytes,omitempty"`
	// UUID is that of the disk's change ids. When empty, each key of a VM has one of
	// its own from its first snapshot on. Another disk at the same key has another.
	UUID string `json:"uuid,omitempty"`
	// NoChangeID is a disk that cannot be tracked: SBC ends when it comes to it.
	NoChangeID bool `json:"no_change_id,omitempty"`
}

// Options configure a [Server]. The zero value serves an empty vCenter.
type Options struct {
	// Listen is the address to serve on, 127.0.0.1 and a free port when empty.
	Listen string
	VMs    []VM
	// Callback is the base URL of the SHA's API. When empty SBC calls nobody.
	Callback string
	// RequestBytes is the largest write or write-zeroes, up to 32 MiB, which is
	// also the default; a multiple of 512.
	RequestBytes int64
	// NoSampling reads every piece of a disk before it takes it for zeroes. The
	// real SBC looks at five spots of 8 KiB, and loses what is between them.
	NoSampling bool
	// TelemetryInterval is the longest time between two reports, 5 s when 0.
	TelemetryInterval time.Duration
	// RetryDelay is the wait before the first of three retries of a piece that
	// failed, doubled each time: 1 s when 0, none when negative. There is no
	// reconnect, so over a dead connection SBC lives on for seven seconds, and
	// for the time it takes to read the piece four times.
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
	if o.RequestBytes == 0 {
		o.RequestBytes = MaxRequestBytes
	}
	if o.TelemetryInterval == 0 {
		o.TelemetryInterval = defaultTelemetry
	}
	if o.RetryDelay == 0 {
		o.RetryDelay = firstRetryGap
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
	if o.RequestBytes < 512 || o.RequestBytes > MaxRequestBytes || o.RequestBytes%512 != 0 {
		return o, fmt.Errorf("request bytes %d: must be a multiple of 512 up to %d", o.RequestBytes, MaxRequestBytes)
	}
	return o, nil
}

// complete checks a VM and fills in what its file may leave out.
func (vm VM) complete() (VM, error) {
	if !strings.HasPrefix(vm.Path, "/") {
		return vm, fmt.Errorf("vm %q: path must be an inventory path, such as /DC1/vm/pgtest1", vm.Path)
	}
	if vm.Name == "" {
		vm.Name = lastSegment(vm.Path)
	}
	if vm.ID == "" {
		sum := sha256.Sum256([]byte(vm.Path))
		vm.ID = fmt.Sprintf("42%x-%x-%x-%x-%x", sum[:3], sum[3:5], sum[5:7], sum[7:9], sum[9:15])
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
	if d.Key < 0 || d.CapacityBytes < 0 || d.FileBytes < 0 {
		return d, errors.New("key, capacity and file size must not be negative")
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
