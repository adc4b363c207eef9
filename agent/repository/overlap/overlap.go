// Package overlap finds directories that are one directory, or lie inside each other, whatever their paths look like: through
// symbolic links, bind mounts, and a file system that is mounted twice. It knows nothing of repositories, and what lies in a
// directory matters to it only as a sign of which directory it is.
package overlap

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// A Place is a directory that must be different from the others.
type Place struct {
	Name string // for people, as `repository "main"`
	Path string // absolute
}

// An Error says that two places are one directory, or that one lies inside the other.
type Error struct {
	A, B Place
	How  Relation
}

func (e *Error) Error() string {
	a, b := fmt.Sprintf("%s (%s)", e.A.Name, e.A.Path), fmt.Sprintf("%s (%s)", e.B.Name, e.B.Path)
	said := a + " and " + b + " are one directory"
	switch e.How {
	case inside:
		said = a + " lies inside " + b
	case outside:
		said = b + " lies inside " + a
	case mountedTwice:
		said += ", mounted twice (a file made in one appears in the other)"
	}
	return said + ": give each its own directory, and remove nothing: the files under both names exist only once"
}

// lookTimeout limits one look at a directory: a network file system may hang.
const lookTimeout = 3 * time.Second

// looks shares the answer among callers that look at one path at the same time, so that a path that hangs blocks only one goroutine.
var looks singleflight.Group

// Look is Identify, limited to three seconds. Callers that look at one path at the same time share one look.
func Look(path string) (Identity, error) {
	return bounded(path, "does not answer", func() (Identity, error) { return Identify(path) })
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

// Find compares each directory with each other. The error holds an *Error for each two that are one, or of which one lies inside the
// other, also through links and bind mounts. Directories that cannot be examined, because they are not mounted or hang, are listed in
// away and not compared. Find takes a few seconds at most.
func Find(places []Place) (away []error, err error) {
	return FindBy(places, func(p Place) (Identity, error) { return Look(p.Path) }, func(a, b Place) bool { return Twins(a.Path, b.Path) })
}

// FindBy is Find for a caller that has ways of its own to look at a directory, and to try whether two are one: see Twins.
func FindBy(places []Place, look func(Place) (Identity, error), twins func(a, b Place) bool) (away []error, err error) {
	found, failed := make([]Identity, len(places)), make([]error, len(places))
	var wait sync.WaitGroup
	for i, p := range places {
		wait.Go(func() { found[i], failed[i] = look(p) })
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
			if how == apart && found[i].Dev != found[j].Dev && twins(other, p) {
				how = mountedTwice
			}
			if how != apart {
				all = append(all, &Error{A: other, B: p, How: how})
			}
		}
	}
	return away, errors.Join(all...)
}

// An Unknown error says that a directory has not been compared with the others yet.
type Unknown struct{ Identity Identity }

func (e *Unknown) Error() string { return "has not been compared with the other repositories yet" }

// A Guard keeps directories apart. A directory that is mounted after the agent has started, or mounted again, is compared with the others
// before it is used.
type Guard struct {
	// Look finds the directory of a place, within seconds. It is the function Look unless another one is set before the first Decide.
	Look func(Place) (Identity, error)

	places []Place

	deciding sync.Mutex // held while one is compared with the others, and accepted

	mu       sync.Mutex
	accepted map[Place]Identity // of directories that were apart from all others when last examined
}

// NewGuard makes a guard of directories that Decide compares when they are used, and of others, which are examined now.
func NewGuard(checked, others []Place) *Guard {
	g := &Guard{
		places: slices.Concat(checked, others), accepted: map[Place]Identity{},
		Look: func(p Place) (Identity, error) { return Look(p.Path) },
	}
	for _, p := range others {
		if found, err := Look(p.Path); err == nil {
			g.accepted[p] = found
		}
	}
	return g
}

// Decide compares the directory of a place, as it is now, with the others that have been used. It touches those only when one of them
// may be the same, as they may have changed. The one that came first stays usable: a backup that runs there continues.
func (g *Guard) Decide(own Place, now Identity) error {
	if g.known(own, now.Inode) {
		return nil
	}
	g.deciding.Lock() // of two at the same time, one is first
	defer g.deciding.Unlock()
	for _, other := range g.places {
		if other == own {
			continue
		}
		if err := g.compare(own, other, now); err != nil {
			return err
		}
	}
	g.accept(own, now)
	return nil
}

// compare returns an error unless a directory is apart from another one as it is now.
func (g *Guard) compare(own, other Place, now Identity) error {
	if g.apartFrom(other, now) {
		return nil
	}
	found, err := g.Look(other)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		g.forget(other)
		return nil
	case err != nil:
		return fmt.Errorf("%s may be the directory of %s, which cannot be examined: %w", own.Path, other.Name, err)
	}
	if how := now.to(found); how != apart {
		return &Error{A: own, B: other, How: how}
	}
	g.accept(other, found)
	return nil
}

func (g *Guard) known(p Place, now Inode) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was, found := g.accepted[p]
	return found && was.Inode == now
}

func (g *Guard) apartFrom(other Place, now Identity) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was, found := g.accepted[other]
	return !found || now.to(was) == apart
}

func (g *Guard) accept(p Place, now Identity) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.accepted[p] = now
}

func (g *Guard) forget(p Place) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.accepted, p)
}
