// Package client simulates SBC, the client that reads a VM's disks and writes them to NBD exports: its snapshot, its plan of what to
// copy, its copy, its reports to SNA and SHA, its habits with libnbd. One [Client] is one process.
//
// It is no library for backups: it does what the real one does, harmful habits included, and what the faults say.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest/fault"
	"github.com/sendense/backup-agent/agent/sna/snatest/vcenter"
	"github.com/sendense/backup-agent/nbd"
)

// Why a client ends that does not end by itself.
var (
	ErrKilled     = errors.New("sbc was killed")
	ErrClosed     = fmt.Errorf("the simulator was closed: %w", ErrKilled)
	ErrTerminated = errors.New("sbc got SIGTERM")
	// errRemoval ends SBC with log.Fatal, after its last report.
	errRemoval = errors.New("failed to stop nbdkit servers: the snapshot could not be removed: the operation is not allowed in the current state")
)

// A Request is what the SNA starts a client with.
type Request struct {
	JobID, VMName, VMPath string
	NBDTargets            string
}

// isBackup decides, as SBC does, which half of the SHA's API is called.
func (q Request) isBackup() bool { return strings.HasPrefix(q.JobID, "backup-") }

// A Host is the environment of a client.
type Host struct {
	VCenter  *vcenter.VCenter
	Points   *fault.Points                       // at which it waits
	TellSNA  func(jobID string, update Progress) // reports progress
	Changed  func()                              // is called after every change of its state
	Callback string                              // base URL of the SHA's API; "" calls nobody

	RequestBytes      int64         // the largest write or write-zeroes
	NoSampling        bool          // every piece is read before it is taken for zeroes
	TelemetryInterval time.Duration // the longest time between two reports
	RetryDelay        time.Duration // before the first retry of a piece, doubled each time; none when negative
	Logger            *slog.Logger
}

// A Client is one SBC process.
type Client struct {
	host     *Host
	request  Request
	vm       vcenter.VM
	lookup   error // of finding the VM
	faults   fault.Faults
	callback *callback
	log      *slog.Logger
	targets  map[string]nbd.ParsedTarget
	snapshot *vcenter.Snapshot
	kill     context.CancelCauseFunc

	mu      sync.Mutex // guards the next six
	state   RunState   // see update
	handles []*handle  // all ever opened
	lost    []*handle  // open, without a reference
	garbage int64      // bytes allocated since the last collection
	signals signals    // what SIGTERM does

	reports sync.Mutex // of what follows
	tracker tracker
}

// New makes a client, which does nothing until Run is called. kill ends the context that Run gets.
func New(h *Host, q Request, faults fault.Faults, pid int, kill context.CancelCauseFunc) *Client {
	vm, err := h.VCenter.Find(q.VMPath, q.VMName)
	return &Client{
		host: h, request: q, vm: vm, lookup: err, faults: faults, kill: kill,
		log:      h.Logger.With("job", q.JobID, "pid", pid),
		callback: newCallback(h.Callback), tracker: tracker{sentAt: time.Now()},
		state: RunState{JobID: q.JobID, VM: vm.Path, PID: pid, Phase: "forked", Disks: []DiskState{}},
	}
}

// State returns a copy of what can be seen of the client.
func (r *Client) State() RunState {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.state
	state.Disks = slices.Clone(state.Disks)
	for i := range state.Disks {
		state.Disks[i].Reports = slices.Clone(state.Disks[i].Reports)
	}
	return state
}

// IsOf says whether the client works for a job.
func (r *Client) IsOf(jobID string) bool { return r.request.JobID == jobID }

// End ends the client as SIGKILL (ErrKilled) or SIGTERM (ErrTerminated) does.
func (r *Client) End(cause error) { r.kill(cause) }

// SnapshotEarly takes the snapshot before Run, unless a fault keeps the client from it. A failure is logged: the client tries again.
func (r *Client) SnapshotEarly(ctx context.Context) {
	if r.lookup != nil || r.faults.LoginFails || r.faults.QuiesceFails {
		return
	}
	if err := r.takeSnapshot(ctx, true); err != nil {
		r.log.Warn("no early snapshot, sbc will try again", "error", err)
	}
}
