package overlap

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
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
			places := []Place{{Name: `repository "main"`, Path: main}, {Name: `repository "slow"`, Path: slow}}
			away, err := Find(places)
			if (len(away) > 0) != (name == "not there") {
				t.Errorf("away: %v", away)
			}
			checkOverlap(t, err, c.want, main, slow)
			_, err = Find([]Place{places[1], places[0]})
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
	var shared *Error
	if !errors.As(err, &shared) {
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

// TestAwayIsNotWaitedFor: a directory that hangs is examined for a limited time, and reported.
func TestAwayIsNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	hung := dir + "/hung"
	hang(t, hung)
	began := time.Now()
	away, err := Find([]Place{{Name: "a", Path: hung}, {Name: "b", Path: dir}})
	if err != nil || len(away) != 1 || !strings.Contains(away[0].Error(), "does not answer within") {
		t.Errorf("%v, away: %v", err, away)
	}
	if took := time.Since(began); took > lookTimeout+time.Minute {
		t.Errorf("it took %s", took)
	}
}

// hang mounts a file system that does not answer until the test ends.
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
