package stream

import "sync"

// boxSize is how many values a box holds. When there are more, the oldest are lost.
const boxSize = 256

// A Box holds what arrived until it is taken. It never makes the connection wait: one slow reader would stop the answers to all other
// calls. NewBox makes one.
type Box[T any] struct {
	mu      sync.Mutex
	values  []T
	dropped int
	ready   chan struct{} // holds a token when there is something to take
}

// NewBox makes an empty box.
func NewBox[T any]() *Box[T] { return &Box[T]{ready: make(chan struct{}, 1)} }

// Ready receives when there may be something to take.
func (b *Box[T]) Ready() <-chan struct{} { return b.ready }

// Put adds a value.
func (b *Box[T]) Put(value T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.values) >= boxSize {
		b.values = b.values[1:]
		b.dropped++
	}
	b.values = append(b.values, value)
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// Take returns what has arrived, and how many older values were lost before it.
func (b *Box[T]) Take() (values []T, dropped int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	values, dropped = b.values, b.dropped
	b.values, b.dropped = nil, 0
	return values, dropped
}
