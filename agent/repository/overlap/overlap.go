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

// A Place is a directory that must be different from the others.
type Place struct {
	Name string // for people, as `repository "main"`
	Path string // absolute
}

// An Error says that two places are one directory, or that one lies inside the other.
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
		said += ", mounted twice (a file made in one appears in the other)"
	}
	return said + ": give each its own directory, and remove nothing: the files under both names exist only once"
}

// lookTimeout limits one look at a directory: a network file system may hang.
const lookTimeout = 3 * time.Second

// looks shares the answer among callers that look at one path at the same time, so that a path that hangs blocks only one goroutine.
var looks singleflight.Group

// look is identify, limited to lookTimeout.
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

// Find compares each directory with each other. The error holds an *Error for each two that are one, or of which one lies inside the
// other, also through links and bind mounts. Directories that cannot be examined, because they are not mounted or hang, are listed in
// away and not compared. Find takes a few seconds at most.
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

// A Guard keeps directories apart. A directory that is mounted after the agent has started, or mounted again, is compared with the others
// before it is used.
type Guard struct {
	places []Place

	deciding sync.Mutex // held while one is compared with the others, and accepted

	mu       sync.Mutex
	accepted map[Place]identity // of directories that were apart from all others when last examined
}

// NewGuard makes a guard of directories that Check compares when they are used, and of others, which are examined now.
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
	g.deciding.Lock() // of two at the same time, one is first
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

// compare returns an error unless a directory is apart from another one as it is now.
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
		return fmt.Errorf("%s may be the directory of %s, which cannot be examined: %w", own.Path, other.Name, err)
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
