package storage

import (
	"sync"
	"time"
)

// local does the operations in goroutines of this process: for commands that a person runs, and for tests.
type local struct {
	files *Files
	once  sync.Once
	done  chan struct{}
}

func newLocal(s Spec) Link { return &local{files: NewFiles(s), done: make(chan struct{})} }

func (l *local) Start(r Request, moved func(Movement)) <-chan Answer {
	do := func() Answer { return Answer{Response: l.files.do(r)} }
	return followed(r.Number, do, moved, func(n []uint64) (Moved, error) { return l.files.progress(n), nil })
}

func (l *local) Cancel(number uint64)  { l.files.cancel(number) }
func (l *local) Done() <-chan struct{} { return l.done }
func (l *local) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.files.cancelAll()
	})
	return nil
}

// progressEvery is how often the progress of an operation is asked for.
const progressEvery = 200 * time.Millisecond

// followed does an operation in a goroutine, and calls moved with its progress until it is answered. moved may be nil.
func followed(number uint64, do func() Answer, moved func(Movement), ask func([]uint64) (Moved, error)) <-chan Answer {
	answers, answered := make(chan Answer, 1), make(chan struct{})
	var following sync.WaitGroup
	if moved != nil {
		following.Go(func() { follow(number, moved, answered, ask) })
	}
	go func() {
		a := do()
		close(answered)
		following.Wait()
		if moved != nil && a.Err == nil {
			moved(a.Moved)
		}
		answers <- a
	}()
	return answers
}

// follow asks for the progress of an operation until it is answered.
func follow(number uint64, moved func(Movement), answered <-chan struct{}, ask func([]uint64) (Moved, error)) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-answered:
			return
		}
		all, err := ask([]uint64{number})
		if err != nil {
			return
		}
		if m, found := all[number]; found {
			moved(m)
		}
	}
}
