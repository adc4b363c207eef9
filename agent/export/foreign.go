package export

import (
	"sync"
	"time"
)

// foreignMemory is how long a port is skipped after another process was found on it.
const foreignMemory = 10 * time.Minute

// ForeignPorts remembers the ports that other processes were found on.
type ForeignPorts struct {
	mu    sync.Mutex
	until map[uint16]time.Time
}

// Note records that another process holds the port. It is skipped for foreignMemory.
func (f *ForeignPorts) Note(port uint16) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.until == nil {
		f.until = map[uint16]time.Time{}
	}
	f.until[port] = time.Now().Add(foreignMemory)
}

// Has reports whether another process was found on the port within foreignMemory.
func (f *ForeignPorts) Has(port uint16) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	until, ok := f.until[port]
	if ok && time.Now().After(until) {
		delete(f.until, port)
		return false
	}
	return ok
}

// Count returns how many ports other processes were found on within foreignMemory.
func (f *ForeignPorts) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, until := range f.until {
		if time.Now().Before(until) {
			n++
		}
	}
	return n
}

// Forget drops all ports, so that those that are free again are tried.
func (f *ForeignPorts) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.until = nil
}
