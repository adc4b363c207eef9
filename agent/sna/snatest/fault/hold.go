package fault

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
)

var pointShape = regexp.MustCompile(`^(login|snapshot|remove|(disk|copy|complete|disconnect)/\d+)$`)

// CheckPoint refuses a name that is no point.
func CheckPoint(point string) error {
	if !pointShape.MatchString(point) {
		return fmt.Errorf("point %q: unknown, see the package documentation", point)
	}
	return nil
}

// Points are those at which clients wait.
type Points struct {
	mu    sync.Mutex
	gates map[string]chan struct{} // closed by release
}

// Hold makes every client stop at a point until Release.
func (h *Points) Hold(point string) error {
	if err := CheckPoint(point); err != nil {
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

// Release lets the clients continue that wait at a point, and those to come.
func (h *Points) Release(point string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if gate := h.gates[point]; gate != nil {
		close(gate)
		delete(h.gates, point)
	}
}

// Held lists the points that are held.
func (h *Points) Held() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.AppendSeq([]string{}, maps.Keys(h.gates))
}

// Gate is closed when a point is released; nil when it is not held.
func (h *Points) Gate(point string) chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gates[point]
}
