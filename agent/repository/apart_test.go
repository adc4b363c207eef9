package repository

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// bind shows a directory, or a part of it, under another name.
func bind(t testing.TB, from, to string) {
	t.Helper()
	must(t, os.MkdirAll(to, 0o755))
	must(t, unix.Mount(from, to, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(to, unix.MNT_DETACH) })
}

func tmpfs(t testing.TB, at string) {
	t.Helper()
	must(t, os.MkdirAll(at, 0o755))
	must(t, unix.Mount("tmpfs", at, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
}

// mountAgain shows a directory through a file system of its own, with the inodes of the original.
func mountAgain(t testing.TB, from, to string) {
	t.Helper()
	must(t, os.MkdirAll(to, 0o755))
	root, err := fs.NewLoopbackRoot(from)
	must(t, err)
	_, err = fs.Mount(to, root, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, AllowOther: true}})
	must(t, err)
	t.Cleanup(func() { _ = unix.Unmount(to, unix.MNT_DETACH) })
}

func TestApart(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, main, slow string) // main is there
		want string
	}{
		"two directories": {func(t *testing.T, _, slow string) { must(t, os.Mkdir(slow, 0o755)) }, ""},
		"siblings of a like name": {func(t *testing.T, main, slow string) {
			must(t, errors.Join(os.Mkdir(main+"2", 0o755), os.Symlink(main+"2", slow)))
		}, ""},
		"two parts of one file system": {func(t *testing.T, main, slow string) {
			must(t, errors.Join(os.Mkdir(main+"2", 0o755), os.Mkdir(slow, 0o755)))
			bind(t, main+"2", slow)
		}, ""},
		"link": {func(t *testing.T, main, slow string) { must(t, os.Symlink(main, slow)) }, "are one directory"},
		"link to link": {func(t *testing.T, main, slow string) {
			must(t, errors.Join(os.Symlink(main, slow+"1"), os.Symlink(slow+"1", slow)))
		}, "are one directory"},
		"link above": {func(t *testing.T, main, slow string) {
			must(t, os.Symlink(filepath.Dir(filepath.Dir(main)), filepath.Dir(slow)+"/up"))
			must(t, os.Symlink(filepath.Dir(slow)+"/up/"+filepath.Base(filepath.Dir(main))+"/main", slow))
		}, "are one directory"},
		"bind mount": {func(t *testing.T, main, slow string) { bind(t, main, slow) }, "are one directory"},
		"inside, by a link": {func(t *testing.T, main, slow string) {
			must(t, errors.Join(os.MkdirAll(main+"/a/b", 0o755), os.Symlink(main+"/a/b", slow)))
		}, `repository "slow" (SLOW) lies inside repository "main" (MAIN)`},
		"inside, by a bind mount": {func(t *testing.T, main, slow string) {
			must(t, os.MkdirAll(main+"/a b/c", 0o755))
			bind(t, main+"/a b/c", slow)
		}, `repository "slow" (SLOW) lies inside repository "main" (MAIN)`},
		"around, by a bind mount": {
			func(t *testing.T, main, slow string) { bind(t, filepath.Dir(filepath.Dir(main)), slow) },
			`repository "main" (MAIN) lies inside repository "slow" (SLOW)`,
		},
		"below a bind mount": {func(t *testing.T, main, slow string) {
			must(t, os.MkdirAll(main+"/a", 0o755))
			bind(t, main, slow+"1")
			must(t, os.Symlink(slow+"1/a", slow))
		}, `repository "slow" (SLOW) lies inside repository "main" (MAIN)`},
		"mounted twice": {func(t *testing.T, main, slow string) {
			below := filepath.Dir(main) + "/below"
			must(t, os.MkdirAll(below+"/vm", 0o755))
			mountAgain(t, below, main)
			mountAgain(t, below, slow)
		}, "are one directory, mounted twice"},
		"a replica with the inodes of the original": {func(t *testing.T, main, slow string) {
			tmpfs(t, main)
			tmpfs(t, slow)
			for _, dir := range []string{main, slow} {
				must(t, os.Mkdir(dir+"/vm", 0o755))
			}
			if a, b := number(t, main+"/vm"), number(t, slow+"/vm"); a != b {
				t.Fatalf("the kernel gave them the inodes %d and %d: try another file system", a, b)
			}
		}, ""},
		"not there": {func(*testing.T, string, string) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "srv")
			main, slow := filepath.Join(dir, "main"), filepath.Join(dir, "slow")
			must(t, os.MkdirAll(main, 0o755))
			c.make(t, main, slow)
			places := []Place{New("main", main, nil).Place(), New("slow", slow, nil).Place()}
			away, err := Apart(places)
			if (len(away) > 0) != (name == "not there") {
				t.Errorf("away: %v", away)
			}
			checkOverlap(t, err, c.want, main, slow)
			_, err = Apart([]Place{places[1], places[0]})
			checkOverlap(t, err, c.want, main, slow)
		})
	}
}

func number(t testing.TB, path string) uint64 {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	return numberOf(info)
}

func checkOverlap(t testing.TB, err error, want, main, slow string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("apart, and yet: %v", err)
		}
		return
	}
	var overlap *OverlapError
	if !errors.As(err, &overlap) {
		t.Fatalf("%v, want: %s", err, want)
	}
	wantError(t, err, strings.NewReplacer("MAIN", main, "SLOW", slow).Replace(want), main, slow, "remove nothing")
	for _, path := range []string{main, slow} {
		left, err := filepath.Glob(path + "/" + trialPrefix + "*")
		if must(t, err); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// TestTogether: a repository that was away when the agent started is compared before anything is done with it, and who came first
// goes on.
func TestTogether(t *testing.T) {
	dir := t.TempDir()
	main, slow := New("main", dir+"/main", nil), New("slow", dir+"/slow", nil)
	must(t, os.Mkdir(main.Path, 0o755))
	Together([]*Repository{main, slow}, Place{Name: "agent.state_directory", Path: dir + "/state"})
	works := func(r *Repository) {
		t.Helper()
		_, err := r.Scratch()
		must(t, err)
		_, err = r.Space()
		must(t, err)
	}
	refused := func(r *Repository, words ...string) {
		t.Helper()
		err := r.MakeDir("vm", "vm-1")
		var overlap *OverlapError
		if !errors.As(err, &overlap) {
			t.Fatalf("not refused: %v", err)
		}
		wantError(t, err, words...)
		_, err = r.Space()
		wantError(t, err, words...)
	}
	works(main)
	if _, err := slow.Scratch(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a repository that is away: %v", err)
	}

	// It comes, and is the other one.
	must(t, os.Symlink(main.Path, slow.Path))
	refused(slow, `repository "slow"`, `repository "main"`, "are one directory")
	works(main)
	must(t, errors.Join(os.Remove(slow.Path), os.MkdirAll(main.Path+"/vm/x", 0o755), os.Symlink(main.Path+"/vm", slow.Path)))
	refused(slow, "lies inside")
	works(main)

	// It comes as it should.
	must(t, errors.Join(os.Remove(slow.Path), os.Mkdir(slow.Path, 0o755)))
	works(slow)
	works(main)

	// Their places are exchanged: what was one's is the other's now, and neither is refused for what the other was.
	must(t, os.Rename(main.Path, main.Path+"1"))
	must(t, errors.Join(os.Rename(slow.Path, main.Path), os.Rename(main.Path+"1", slow.Path)))
	works(main)
	works(slow)

	// What is no repository is there from the beginning.
	must(t, errors.Join(os.MkdirAll(dir+"/other/state", 0o755), os.Symlink(dir+"/other/state", dir+"/state")))
	around := New("around", dir+"/other", nil)
	Together([]*Repository{around}, Place{Name: "agent.state_directory", Path: dir + "/state"})
	refused(around, "agent.state_directory", "lies inside")
}

// TestTogetherAtOnce: of two that are one directory and come at the same time, one is used and the other refused.
func TestTogetherAtOnce(t *testing.T) {
	dir := t.TempDir()
	must(t, errors.Join(os.Mkdir(dir+"/main", 0o755), os.Symlink(dir+"/main", dir+"/slow")))
	for range 200 {
		list := []*Repository{New("main", dir+"/main", nil), New("slow", dir+"/slow", nil)}
		Together(list)
		errs := make([]error, len(list))
		var wait sync.WaitGroup
		for i, r := range list {
			wait.Go(func() { _, errs[i] = r.Scratch() })
		}
		wait.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("%v and %v", errs[0], errs[1])
		}
	}
}

// TestAwayIsNotWaitedFor: a directory that hangs is looked at for a bounded time, and named.
func TestAwayIsNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	hung := dir + "/hung"
	hang(t, hung)
	began := time.Now()
	away, err := Apart([]Place{{Name: "a", Path: hung}, {Name: "b", Path: dir}})
	if err != nil || len(away) != 1 || !strings.Contains(away[0].Error(), "does not answer within") {
		t.Errorf("%v, away: %v", err, away)
	}
	if took := time.Since(began); took > 2*lookTimeout {
		t.Errorf("it took %s", took)
	}
}

// hang mounts a file system that answers nothing until the test ends.
func hang(t testing.TB, at string) {
	t.Helper()
	must(t, os.Mkdir(at, 0o755))
	n := &hungNode{answer: make(chan struct{})}
	_, err := fs.Mount(at, n, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true}})
	must(t, err)
	t.Cleanup(func() {
		close(n.answer)
		_ = unix.Unmount(at, unix.MNT_DETACH)
	})
	n.hung.Store(true)
}

type hungNode struct {
	fs.Inode
	hung   atomic.Bool
	answer chan struct{}
}

func (n *hungNode) OpendirHandle(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if n.hung.Load() {
		<-n.answer
	}
	return nil, 0, syscall.EIO
}
