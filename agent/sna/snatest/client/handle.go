package client

import (
	"context"
	"fmt"

	"github.com/sendense/backup-agent/agent/sna/snatest/fault"
)

// handle is one of the NBD handles of an SBC.
type handle struct {
	*libnbd
	closed bool // guarded by run.mu
}

// garbageBytes is how much SBC allocates for buffers until the Go runtime collects
// garbage for the first time, including every lost handle.
const garbageBytes = 4 << 20

// connect opens a handle. SBC waits without a time limit: on a server that admits
// only one client, it waits until it is killed.
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
func (r *Client) close(h *handle) {
	if h == nil {
		return
	}
	_ = h.Close() // SBC ignores errors of it
	r.update(func(s *RunState) {
		if !h.closed {
			h.closed = true
			s.OpenConnections--
		}
	})
}

// closeAll closes all handles, as the end of the process does.
func (r *Client) closeAll() {
	r.mu.Lock()
	handles := r.handles
	r.mu.Unlock()
	for _, h := range handles {
		r.close(h)
	}
}

// breakOff closes the connections while they are in use, when the process is
// killed: otherwise requests without an answer would never return.
func (r *Client) breakOff() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.handles {
		_ = h.Close() // SBC ignores errors of it
	}
}

// lose drops the only reference to a handle without closing it, as the second
// Connect of an incremental copy does.
func (r *Client) lose(h *handle) {
	if r.faults.LostHandle == fault.LostAtOnce {
		r.close(h)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = append(r.lost, h)
}

// allocate counts SBC's buffers, and closes lost handles at a collection.
func (r *Client) allocate(n int64) {
	r.mu.Lock()
	r.garbage += n
	var collected []*handle
	if r.garbage >= garbageBytes && r.faults.LostHandle == fault.LostUntilCollected {
		collected, r.lost, r.garbage = r.lost, nil, 0
	}
	r.mu.Unlock()
	for _, h := range collected {
		r.close(h)
	}
}
