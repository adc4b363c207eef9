package repository

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A plainMount is a mount of a directory that renames one name at a time, as NFS does.
type plainMount struct {
	// rename decides about a rename: whether it is done, and what the caller gets. nil: it is done.
	rename atomic.Pointer[func() (do bool, errno syscall.Errno)]
}

// onPlainMount moves a repository to such a mount.
func onPlainMount(t testing.TB, r *Repository) *plainMount {
	t.Helper()
	// A container often has no node of it, though the kernel has FUSE.
	if err := unix.Mknod("/dev/fuse", unix.S_IFCHR|0o600, int(unix.Mkdev(10, 229))); err != nil && !errors.Is(err, unix.EEXIST) {
		t.Fatalf("/dev/fuse: %v", err)
	}
	below := r.Path
	r.Path = filepath.Join(filepath.Dir(below), "plain")
	must(t, os.Mkdir(r.Path, 0o755))
	root, err := fs.NewLoopbackRoot(below)
	must(t, err)
	m := &plainMount{}
	_, err = fs.Mount(r.Path, &plainNode{root.(*fs.LoopbackNode), m}, &fs.Options{MountOptions: fuse.MountOptions{
		DirectMountStrict: true, AllowOther: true, Options: []string{"default_permissions"},
	}})
	must(t, err)
	t.Cleanup(func() { must(t, unix.Unmount(r.Path, 0)) }) // which fails while a file is open
	return m
}

type plainNode struct {
	*fs.LoopbackNode
	mount *plainMount
}

func (n *plainNode) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &plainNode{ops.(*fs.LoopbackNode), n.mount}
}

func (n *plainNode) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL
	}
	do, says := true, fs.OK
	if f := n.mount.rename.Load(); f != nil {
		do, says = (*f)()
	}
	if do {
		if errno := n.LoopbackNode.Rename(ctx, name, parent.(*plainNode).LoopbackNode, newName, 0); errno != fs.OK {
			return errno
		}
	}
	return says
}

// fail makes the renames fail from the nth on, counted from 1. lost says whether the nth is done all the same.
func (m *plainMount) fail(nth int32, lost bool) {
	var renames atomic.Int32
	m.rename.Store(new(func() (bool, syscall.Errno) {
		switch now := renames.Add(1); {
		case now < nth:
			return true, fs.OK
		case now == nth:
			return lost, syscall.EIO
		}
		return false, syscall.EIO
	}))
}

func (m *plainMount) heal() { m.rename.Store(nil) }
