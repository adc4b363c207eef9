package snatest

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
)

var pointShape = regexp.MustCompile(`^(login|snapshot|remove|(disk|copy|complete|disconnect)/\d+)$`)

func checkPoint(point string) error {
	if !pointShape.MatchString(point) {
		return fmt.Errorf("point %q: unknown, see the package documentation", point)
	}
	return nil
}

// holds are the points at which runs wait.
type holds struct {
	mu    sync.Mutex
	gates map[string]chan struct{} // closed by release
}

func (h *holds) hold(point string) error {
	if err := checkPoint(point); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gates == nil {
		h.gates = make(map[string]chan struct{})
	}
	if h.gates[point] == nil {
		h.gates[point] = make(chan struct{})
	}
	return nil
}

func (h *holds) release(point string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if gate := h.gates[point]; gate != nil {
		close(gate)
		delete(h.gates, point)
	}
}

func (h *holds) points() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.AppendSeq([]string{}, maps.Keys(h.gates))
}

func (h *holds) gate(point string) chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gates[point]
}

// pass notes that the run came to a point and waits there while it is held.
func (r *run) pass(ctx context.Context, point string) error {
	gate := r.server.holds.gate(point)
	if gate == nil {
		return nil
	}
	r.update(func(s *RunState) { s.HeldAt = point })
	defer r.update(func(s *RunState) { s.HeldAt = "" })
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
