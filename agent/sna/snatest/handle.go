package snatest

import (
	"context"
	"fmt"
)

// handle is one of the NBD handles of an SBC.
type handle struct {
	*libnbd
	closed bool // guarded by server.mu
}

// garbageBytes is what SBC allocates for its buffers until the Go runtime
// collects for the first time, and with the garbage every handle that was lost.
const garbageBytes = 4 << 20

// LostHandle says how long a handle stays open that an incremental copy lost.
type LostHandle string

// The lives of a lost handle.
const (
	// LostUntilCollected is the rule of the real SBC: it closes once 4 MiB were
	// copied after it was lost, which is about when Go's collector comes by. A
	// smaller copy leaves it open until the process ends.
	LostUntilCollected LostHandle = ""
	LostAtOnce         LostHandle = "at-once"   // closes when it is lost
	LostUntilEnd       LostHandle = "until-end" // closes with the process, after the removal of the snapshot
)

// connect opens a handle. SBC waits without a limit, and so for ever on a server
// that admits only one client.
func (d *diskRun) connect(ctx context.Context, contexts ...string) (*handle, error) {
	conn, err := dialNBD(ctx, d.address, d.export, contexts...)
	if err != nil {
		return nil, fmt.Errorf("failed to connect to NBD server nbd://%s/%s: %w", d.address, d.export, err)
	}
	h := &handle{libnbd: conn}
	d.update(func(s *RunState) {
		d.handles = append(d.handles, h)
		s.Connections++
		s.OpenConnections++
		s.Disks[d.position].Connections++
	})
	if ctx.Err() != nil {
		d.close(h) // breakOff may not have seen it
		return nil, context.Cause(ctx)
	}
	return h, nil
}

// close ends a connection without NBD_CMD_DISC: SBC closes its libnbd handles
// without shutting them down first, and the end of its process does the same.
// A second close of a handle does nothing.
func (r *run) close(h *handle) {
	if h == nil {
		return
	}
	_ = h.Close() // nobody looks at an error of that
	r.update(func(s *RunState) {
		if !h.closed {
			h.closed = true
			s.OpenConnections--
		}
	})
}

// closeAll is what the end of the process does to its handles.
func (r *run) closeAll() {
	r.server.mu.Lock()
	handles := r.handles
	r.server.mu.Unlock()
	for _, h := range handles {
		r.close(h)
	}
}

// breakOff closes the connections under their users, when the process is killed:
// requests that nobody answers would keep their goroutines for ever.
func (r *run) breakOff() {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	for _, h := range r.handles {
		_ = h.Close() // nobody looks at an error of that
	}
}

// lose drops the only reference to a handle without closing it, as the second
// Connect of an incremental copy does.
func (r *run) lose(h *handle) {
	if r.faults.LostHandle == LostAtOnce {
		r.close(h)
		return
	}
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	r.lost = append(r.lost, h)
}

// allocate counts the buffers of SBC, and collects lost handles with them.
func (r *run) allocate(n int64) {
	r.server.mu.Lock()
	r.garbage += n
	var collected []*handle
	if r.garbage >= garbageBytes && r.faults.LostHandle == LostUntilCollected {
		collected, r.lost, r.garbage = r.lost, nil, 0
	}
	r.server.mu.Unlock()
	for _, h := range collected {
		r.close(h)
	}
}
