package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// A Place is a directory that must not be another's too.
type Place struct {
	Name string // for people, as `repository "main"`
	Path string // absolute
}

// Place is the repository's.
func (r *Repository) Place() Place {
	return Place{Name: fmt.Sprintf("repository %q", r.ID), Path: r.Path}
}

// An OverlapError says that two places are one directory, or that one lies inside the other, whatever their paths look like.
type OverlapError struct {
	A, B Place
	how  relation
}

func (e *OverlapError) Error() string {
	a, b := fmt.Sprintf("%s (%s)", e.A.Name, e.A.Path), fmt.Sprintf("%s (%s)", e.B.Name, e.B.Path)
	said := a + " and " + b + " are one directory"
	switch e.how {
	case inside:
		said = a + " lies inside " + b
	case outside:
		said = b + " lies inside " + a
	case mountedTwice:
		said += ", mounted twice (a file that was made in the one is found in the other)"
	}
	return said + ": give each a directory of its own, and remove nothing: what is seen under both names is there only once"
}

// lookTimeout bounds one look at a directory: a network file system may hang.
const lookTimeout = 3 * time.Second

// looks has those who look at one path at the same time share the answer, so that one that hangs for good holds one goroutine.
var looks singleflight.Group

// look is identify for no longer than lookTimeout.
func look(path string) (identity, error) {
	return bounded(path, "does not answer", func() (identity, error) { return identify(path) })
}

func bounded[T any](path, late string, f func() (T, error)) (found T, err error) {
	answer := looks.DoChan(path+"\x00"+late, func() (any, error) { return f() })
	select {
	case r := <-answer:
		found, _ = r.Val.(T)
		return found, r.Err
	case <-time.After(lookTimeout):
		return found, fmt.Errorf("%s %s within %s", path, late, lookTimeout)
	}
}

// Apart compares directories with each other, two at a time. The error holds an *OverlapError for each two that are one, or of
// which one lies inside the other, through links and bind mounts too. Those that cannot be looked at, as they are not mounted or
// hang, are named in away and compared with none. It takes a few seconds at most.
func Apart(places []Place) (away []error, err error) {
	found, failed := make([]identity, len(places)), make([]error, len(places))
	var wait sync.WaitGroup
	for i, p := range places {
		wait.Go(func() { found[i], failed[i] = look(p.Path) })
	}
	wait.Wait()
	var all []error
	for i, p := range places {
		if failed[i] != nil {
			away = append(away, fmt.Errorf("%s: %w", p.Name, failed[i]))
			continue
		}
		for j, other := range places[:i] {
			if failed[j] != nil {
				continue
			}
			how := found[j].to(found[i])
			if how == apart && found[i].dev != found[j].dev && oneByTrial(other.Path, p.Path) {
				how = mountedTwice
			}
			if how != apart {
				all = append(all, &OverlapError{A: other, B: p, how: how})
			}
		}
	}
	return away, errors.Join(all...)
}

// Together has repositories see to it that they stay apart from each other, and from others: what one of them is away when the
// agent starts, or mounted anew, is compared before it is used.
func Together(list []*Repository, others ...Place) {
	t := &together{accepted: map[Place]identity{}}
	for _, r := range list {
		t.places = append(t.places, r.Place())
		r.together = t
	}
	for _, p := range others {
		t.places = append(t.places, p)
		if found, err := look(p.Path); err == nil {
			t.accepted[p] = found
		}
	}
}

// together is what repositories know of each other.
type together struct {
	places []Place

	deciding sync.Mutex // held while one is compared with the others and accepted

	mu       sync.Mutex
	accepted map[Place]identity // of those that have been looked at, when they were last found apart from all the others
}

// check compares an open repository with the others that have been used; it touches those only when it looks as if one were the
// same, for what they were may have changed. Who came first stays usable: a backup that runs there goes on.
func (t *together) check(own Place, root *os.Root) error {
	info, err := root.Stat(".")
	if err != nil || t.known(own, inode{statOf(info).Dev, statOf(info).Ino}) {
		return located(root, err)
	}
	t.deciding.Lock() // of two that come at the same time, one is first
	defer t.deciding.Unlock()
	return self(root, func(dir *os.File) error {
		now, err := identityOf(dir)
		if err != nil {
			return err
		}
		for _, other := range t.places {
			if other == own {
				continue
			}
			if err := t.compare(own, other, now); err != nil {
				return err
			}
		}
		t.accept(own, now)
		return nil
	})
}

// compare returns an error unless a directory is apart from what another one is now.
func (t *together) compare(own, other Place, now identity) error {
	if t.apartFrom(other, now) {
		return nil
	}
	found, err := look(other.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.forget(other)
		return nil
	case err != nil:
		return fmt.Errorf("%s may be the directory of %s, which cannot be looked at: %w", own.Path, other.Name, err)
	}
	if how := now.to(found); how != apart {
		return &OverlapError{A: own, B: other, how: how}
	}
	t.accept(other, found)
	return nil
}

func (t *together) known(p Place, now inode) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was, found := t.accepted[p]
	return found && was.inode == now
}

func (t *together) apartFrom(other Place, now identity) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was, found := t.accepted[other]
	return !found || now.to(was) == apart
}

func (t *together) accept(p Place, now identity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.accepted[p] = now
}

func (t *together) forget(p Place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.accepted, p)
}

// checkApart is what open does, for a method that needs nothing open.
func (r *Repository) checkApart() error {
	if r.together == nil {
		return nil
	}
	root, err := r.open()
	if err != nil {
		return r.fail(err)
	}
	return r.fail(root.Close())
}
