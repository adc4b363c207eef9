package export

import (
	"maps"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// Cooldowns remembers the VMs and ports that cool down, as the database does, but by the clock that nobody can set: a wall
// clock that is set forward would end every cooling at once. It knows only what has ended since the agent's start.
type Cooldowns struct {
	mu    sync.Mutex
	vms   map[string]rest // by name
	ports map[uint16]time.Time
}

// A rest lasts until a time that holds a reading of the monotonic clock.
type rest struct {
	Until    time.Time
	BackupID string
	Vm       record.VM
}

// Add notes the end of a backup whose VM and ports rest from now on.
func (r *Cooldowns) Add(b record.Backup, d time.Duration) {
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

// PutOff begins the rest of a backup anew, unless that was done within the time given, or a newer backup has its own.
func (r *Cooldowns) PutOff(b record.Backup, d, within time.Duration) bool {
	r.mu.Lock()
	found, known := r.vms[b.VM.Name]
	r.mu.Unlock()
	if known && (found.BackupID != b.ID || time.Until(found.Until) > d-within) {
		return false
	}
	r.Add(b, d)
	return true
}

// Of returns the rest of a VM, under whatever name it is on record, unless it is over.
func (r *Cooldowns) Of(vm record.VM) (rest, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.vms, func(_ string, found rest) bool { return time.Until(found.Until) <= 0 })
	for name, found := range r.vms {
		if name == vm.Name || found.Vm.Same(vm) {
			return found, true
		}
	}
	return rest{}, false
}

func (r *Cooldowns) hasPort(port uint16) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	until, ok := r.ports[port]
	if ok && time.Until(until) <= 0 {
		delete(r.ports, port)
		return false
	}
	return ok
}
