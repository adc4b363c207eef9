package storage

import (
	"context"
	"time"
)

// A class says how long an operation takes on storage that works. What takes longer means that the repository is stuck.
type class time.Duration

const (
	reads   = class(10 * time.Second) // reads names, attributes or a small file
	changes = class(5 * time.Minute)  // may wait until data is on the disk, or remove a large file
	endless = class(0)                // reads or writes whole images, or the whole repository: no limit
)

// An operation is one thing that can be asked of a repository. do runs in the process of the repository.
type operation[A, R any] struct {
	name  string // for people, as in "repository nas does not answer since ...: reading a manifest"
	class class
	do    func(ctx context.Context, f *Files, a A) (R, error)
}

// none is the argument or the result of an operation that has none.
type none struct{}

// handlers are the operations by their names, with arguments and results as they are sent.
var handlers = map[string]func(ctx context.Context, f *Files, arguments []byte) ([]byte, error){}

// declare adds an operation to the handlers. Its name is unique.
func declare[A, R any](name string, c class, do func(ctx context.Context, f *Files, a A) (R, error)) *operation[A, R] {
	if _, twice := handlers[name]; twice {
		panic("storage: two operations are named " + name)
	}
	handlers[name] = func(ctx context.Context, f *Files, arguments []byte) ([]byte, error) {
		var a A
		if err := decode(name, arguments, &a); err != nil {
			return nil, err
		}
		result, failed := do(ctx, f, a)
		text, err := encode(name, result)
		if err != nil {
			return nil, err
		}
		return text, failed
	}
	return &operation[A, R]{name: name, class: c, do: do}
}

// act declares an operation without a result.
func act[A any](name string, c class, do func(f *Files, a A) error) *operation[A, none] {
	return declare(name, c, func(_ context.Context, f *Files, a A) (none, error) { return none{}, do(f, a) })
}

// ask asks the process of a repository for an operation, and returns its result. moved, which may be nil, is called with its progress.
// The error is the one of ctx when ctx ends first; the operation may still complete.
func (o *operation[A, R]) ask(ctx context.Context, r *Repository, a A, moved func(Movement)) (result R, err error) {
	arguments, err := encode(o.name, a)
	if err != nil {
		return result, err
	}
	text, failed := call(ctx, r, o.name, o.class, arguments, moved)
	if len(text) > 0 {
		if err := decode(o.name, text, &result); err != nil {
			return result, err
		}
	}
	if failed != nil && context.Cause(ctx) == nil {
		failed = &Error{Repository: r.ID, Err: failed}
	}
	return result, failed
}

// An Error is the error of an operation on a repository, with the text of its cause. One that ended with its context is none.
type Error struct {
	Repository string
	Err        error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func (o *operation[A, R]) of(ctx context.Context, r *Repository, a A) (R, error) {
	return o.ask(ctx, r, a, nil)
}

// tell is of for an operation without a result that matters.
func (o *operation[A, R]) tell(ctx context.Context, r *Repository, a A) error {
	_, err := o.ask(ctx, r, a, nil)
	return err
}
