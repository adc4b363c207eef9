package export

import (
	"sync"
	"time"
)

// foreignMemory is how long a port that another process was found on is passed over.
const foreignMemory = 10 * time.Minute

// ForeignPorts remembers the ports that turned out to be held by processes that are not ours.
type ForeignPorts struct {
	mu    sync.Mutex
	until map[uint16]time.Time
}

// Note records that the port is held, from now on for foreignMemory.
func (f *ForeignPorts) Note(port uint16) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.until == nil {
		f.until = map[uint16]time.Time{}
	}
	f.until[port] = time.Now().Add(foreignMemory)
}

// Has says whether the port was found held lately.
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

// Count is the number of ports that were found held lately.
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

// Forget drops everything, so that ports which have come free since are tried again.
func (f *ForeignPorts) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.until = nil
}
