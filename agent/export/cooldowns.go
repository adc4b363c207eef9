package export

import (
	"maps"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// Cooldowns remembers the VMs and ports that cool down. The database does so too, but by the wall clock: setting it forward would end
// every cool-down at once. Cooldowns uses the monotonic clock. It only knows what has ended since the agent started.
type Cooldowns struct {
	mu    sync.Mutex
	vms   map[string]cooldown // by name
	ports map[uint16]time.Time
}

// A cooldown lasts until a time with a monotonic reading.
type cooldown struct {
	Until    time.Time
	BackupID string
	Vm       record.VM
}

// Add starts the cool-down of the VM and the ports of a backup. It lasts d from now.
func (r *Cooldowns) Add(b record.Backup, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.vms == nil {
		r.vms, r.ports = map[string]cooldown{}, map[uint16]time.Time{}
	}
	until := time.Now().Add(d)
	r.vms[b.VM.Name] = cooldown{until, b.ID, b.VM}
	for _, d := range b.Runs {
		r.ports[d.Port] = until
	}
}

// PutOff restarts the cool-down of a backup, and reports whether it did. It does not if the cool-down was restarted less than within ago,
// or if a newer backup of the VM has its own.
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

// Of returns the cool-down of a VM, also if the VM is on record under another name. The result is false if there is none.
func (r *Cooldowns) Of(vm record.VM) (cooldown, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.vms, func(_ string, found cooldown) bool { return time.Until(found.Until) <= 0 })
	for name, found := range r.vms {
		if name == vm.Name || found.Vm.Same(vm) {
			return found, true
		}
	}
	return cooldown{}, false
}

// hasPort reports whether a port cools down.
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
