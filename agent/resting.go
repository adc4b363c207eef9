package agent

import (
	"maps"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// resting remembers the VMs and ports that cool down, as the database does, but by the clock that nobody can set: a wall
// clock that is set forward would end every cooling at once. It knows only what has ended since the agent's start.
type resting struct {
	mu    sync.Mutex
	vms   map[string]rest // by name
	ports map[uint16]time.Time
}

// A rest lasts until a time that holds a reading of the monotonic clock.
type rest struct {
	until    time.Time
	backupID string
	vm       record.VM
}

// add notes the end of a backup whose VM and ports rest from now on.
func (r *resting) add(b record.Backup, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.vms == nil {
		r.vms, r.ports = map[string]rest{}, map[uint16]time.Time{}
	}
	until := time.Now().Add(d)
	r.vms[b.VM.Name] = rest{until, b.ID, b.VM}
	for _, d := range b.Runs {
		r.ports[d.Port] = until
	}
}

// putOff begins the rest of a backup anew, unless that was done within the time given, or a newer backup has its own.
func (r *resting) putOff(b record.Backup, d, within time.Duration) bool {
	r.mu.Lock()
	found, known := r.vms[b.VM.Name]
	r.mu.Unlock()
	if known && (found.backupID != b.ID || time.Until(found.until) > d-within) {
		return false
	}
	r.add(b, d)
	return true
}

// of returns the rest of a VM, under whatever name it is on record, unless it is over.
func (r *resting) of(vm record.VM) (rest, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.vms, func(_ string, found rest) bool { return time.Until(found.until) <= 0 })
	for name, found := range r.vms {
		if name == vm.Name || found.vm.Same(vm) {
			return found, true
		}
	}
	return rest{}, false
}

func (r *resting) hasPort(port uint16) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	until, ok := r.ports[port]
	if ok && time.Until(until) <= 0 {
		delete(r.ports, port)
		return false
	}
	return ok
}

// rested says what the wall clock cannot: that a VM still cools down although the clock was set forward. After a clock that was
// set back, it has what the database holds end in time.
func (a *Agent) rested(vm record.VM) error {
	if r, ok := a.resting.of(vm); ok {
		// The clock of the moment says when that is.
		return &store.CoolingError{VM: r.vm.Name, BackupID: r.backupID, Until: time.Now().Add(time.Until(r.until))}
	}
	failpoint.Reach("before cooldowns are bounded")
	defer failpoint.Reach("after cooldowns were bounded")
	return a.store.BoundCooling(time.Now(), a.config.SNA.Cooldown.Std())
}
