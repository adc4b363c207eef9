// Package overlap finds directories that are one directory, or lie inside each other, whatever their paths look like: through
// symbolic links, bind mounts, and a file system that is mounted twice. It knows nothing of repositories, and what lies in a
// directory matters to it only as a sign of which directory it is.
package overlap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"
)

// A Place is a directory that must not be another's too.
type Place struct {
	Name string // for people, as `repository "main"`
	Path string // absolute
}

// An OverlapError says that two places are one directory, or that one lies inside the other, whatever their paths look like.
type Error struct {
	A, B Place
	how  relation
}

func (e *Error) Error() string {
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

// Find compares directories with each other, two at a time. The error holds an *Error for each two that are one, or of
// which one lies inside the other, through links and bind mounts too. Those that cannot be looked at, as they are not mounted or
// hang, are named in away and compared with none. It takes a few seconds at most.
func Find(places []Place) (away []error, err error) {
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
				all = append(all, &Error{A: other, B: p, how: how})
			}
		}
	}
	return away, errors.Join(all...)
}

// A Guard sees to it that directories stay apart. One that is not mounted when the agent starts, or is mounted again later, is
// compared with the others before it is used.
type Guard struct {
	places []Place

	deciding sync.Mutex // held while one is compared with the others and accepted

	mu       sync.Mutex
	accepted map[Place]identity // of those that have been looked at, when they were last found apart from all the others
}

// NewGuard makes a guard of directories that are compared when they are used, by Check, and of others that are known from now on.
func NewGuard(checked, others []Place) *Guard {
	g := &Guard{places: slices.Concat(checked, others), accepted: map[Place]identity{}}
	for _, p := range others {
		if found, err := look(p.Path); err == nil {
			g.accepted[p] = found
		}
	}
	return g
}

// Check compares an open directory with the others that have been used. It touches those only when one of them may be the same,
// as they may have changed. The one that came first stays usable: a backup that runs there continues.
func (g *Guard) Check(own Place, dir *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil || g.known(own, inode{st.Dev, st.Ino}) {
		return err
	}
	g.deciding.Lock() // of two that come at the same time, one is first
	defer g.deciding.Unlock()
	now, err := identityOf(dir)
	if err != nil {
		return err
	}
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

// compare returns an error unless a directory is apart from what another one is now.
func (g *Guard) compare(own, other Place, now identity) error {
	if g.apartFrom(other, now) {
		return nil
	}
	found, err := look(other.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		g.forget(other)
		return nil
	case err != nil:
		return fmt.Errorf("%s may be the directory of %s, which cannot be looked at: %w", own.Path, other.Name, err)
	}
	if how := now.to(found); how != apart {
		return &Error{A: own, B: other, how: how}
	}
	g.accept(other, found)
	return nil
}

func (g *Guard) known(p Place, now inode) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was, found := g.accepted[p]
	return found && was.inode == now
}

func (g *Guard) apartFrom(other Place, now identity) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was, found := g.accepted[other]
	return !found || now.to(was) == apart
}

func (g *Guard) accept(p Place, now identity) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.accepted[p] = now
}

func (g *Guard) forget(p Place) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.accepted, p)
}
