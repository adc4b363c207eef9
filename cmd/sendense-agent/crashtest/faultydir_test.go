package crashtest_test

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A faultyDir is a directory in which system calls fail as a test wants them to: a FUSE file system that passes everything on
// to the directory below it. The kernel can make block devices that fail (dm-error, dm-flakey), but only whole ones and not
// on every machine; here it is one operation, on one file, with one errno, and only as long as a test likes.
type faultyDir struct {
	fail    atomic.Pointer[func(operation, path string) syscall.Errno]
	written atomic.Int64 // where in its file the last write since failWhen began
	hangs   atomic.Pointer[hang]
}

// The operations that can fail. A path is relative to the directory; of a rename it is the new one.
const (
	opRead    = "read"
	opWrite   = "write"
	opSync    = "sync"
	opSyncDir = "sync directory"
	opRename  = "rename"
	opClose   = "close"
	opRemove  = "remove"

	opExchange = "exchange" // a rename that exchanges two names
	opMake     = "make"     // of a directory or a file; it can hang, not fail
)

// faulty covers a directory, until uncover is called.
func (h *hub) faulty(path string) (d *faultyDir, uncover func()) {
	h.Helper()
	// A container often has no node of it, though the kernel has FUSE.
	if err := unix.Mknod("/dev/fuse", unix.S_IFCHR|0o600, int(unix.Mkdev(10, 229))); err != nil && !errors.Is(err, unix.EEXIST) {
		h.Fatalf("/dev/fuse: %v", err)
	}
	below := path + ".below" // FUSE's own way to what it covers
	must(h.T, unix.Mkdir(below, 0o755))
	must(h.T, unix.Mount(path, below, "", unix.MS_BIND, ""))
	must(h.T, unix.Mount("", below, "", unix.MS_PRIVATE, "")) // what is mounted on the directory would be mounted here too
	h.Cleanup(func() { _ = unix.Unmount(below, unix.MNT_DETACH) })
	root, err := fs.NewLoopbackRoot(below)
	must(h.T, err)
	d = &faultyDir{}
	options := fs.Options{MountOptions: fuse.MountOptions{
		DirectMountStrict: true, DisableSplice: true, AllowOther: true, Options: []string{"default_permissions"},
	}}
	node := &faultyNode{root.(*fs.LoopbackNode), d}
	server, err := fuse.NewServer(&hangingFS{fs.NewNodeFS(node, &options), d}, path, &options.MountOptions)
	must(h.T, err)
	go server.Serve()
	must(h.T, server.WaitMount())
	covered := true
	uncover = func() {
		if covered {
			covered = false
			d.heal()
			must(h.T, unix.Unmount(path, unix.MNT_DETACH)) // a daemon may still have a file open
		}
	}
	h.Cleanup(uncover)
	return d, uncover
}

// withoutExchange covers the repository with a file system that cannot exchange two directories, as NFS, until uncover is called.
func (h *hub) withoutExchange() (uncover func()) {
	h.Helper()
	repository, uncover := h.faulty(h.dir + "/repository")
	repository.failWhen(func(operation, _ string) syscall.Errno {
		if operation == opExchange {
			return syscall.EINVAL
		}
		return 0
	})
	return uncover
}

// failWhen has operations fail: when f gives anything but 0.
func (d *faultyDir) failWhen(f func(operation, path string) syscall.Errno) {
	d.written.Store(math.MaxInt64)
	d.fail.Store(&f)
}

// heal has everything succeed again.
func (d *faultyDir) heal() {
	d.fail.Store(nil)
	if h := d.hangs.Swap(nil); h != nil {
		h.release()
	}
}

func (d *faultyDir) verdict(operation, path string) syscall.Errno {
	d.reached(operation, path)
	if f := d.fail.Load(); f != nil {
		return (*f)(operation, path)
	}
	return fs.OK
}

type faultyNode struct {
	*fs.LoopbackNode
	dir *faultyDir
}

func (n *faultyNode) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &faultyNode{ops.(*fs.LoopbackNode), n.dir}
}

func (n *faultyNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, flags, errno := n.LoopbackNode.Open(ctx, flags&^syscall.O_DIRECT) // the buffers here are not aligned
	return through(f), flags, errno
}

func (n *faultyNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	n.dir.reached(opMake, n.Path(nil)+"/"+name)
	inode, f, flags, errno := n.LoopbackNode.Create(ctx, name, flags&^syscall.O_DIRECT, mode, out)
	return inode, through(f), flags, errno
}

func (n *faultyNode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.dir.reached(opMake, n.Path(nil)+"/"+name)
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

// through keeps the kernel from going past this file system to the file below.
func through(f fs.FileHandle) fs.FileHandle {
	if file, ok := f.(*fs.LoopbackFile); ok {
		return throughFile{file}
	}
	return f
}

type throughFile struct{ *fs.LoopbackFile }

func (throughFile) PassthroughFd() (int, bool) { return 0, false }

func (n *faultyNode) verdict(operation string) syscall.Errno {
	return n.dir.verdict(operation, n.Path(nil))
}

func (n *faultyNode) Write(ctx context.Context, f fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if errno := n.verdict(opWrite); errno != fs.OK {
		return 0, errno
	}
	n.dir.written.Store(off)
	return f.(fs.FileWriter).Write(ctx, data, off)
}

func (n *faultyNode) Read(ctx context.Context, f fs.FileHandle, into []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if errno := n.verdict(opRead); errno != fs.OK {
		return nil, errno
	}
	return f.(fs.FileReader).Read(ctx, into, off)
}

func (n *faultyNode) Fsync(ctx context.Context, f fs.FileHandle, flags uint32) syscall.Errno {
	if errno := n.verdict(opSync); errno != fs.OK {
		return errno
	}
	return f.(fs.FileFsyncer).Fsync(ctx, flags)
}

func (n *faultyNode) Flush(ctx context.Context, f fs.FileHandle) syscall.Errno {
	if errno := n.verdict(opClose); errno != fs.OK {
		return errno
	}
	return f.(fs.FileFlusher).Flush(ctx)
}

func (n *faultyNode) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	to := parent.EmbeddedInode().Path(nil) + "/" + newName
	operations := []string{opRename}
	if flags&unix.RENAME_EXCHANGE != 0 {
		operations = []string{opExchange, opRename}
	}
	for _, o := range operations {
		if errno := n.dir.verdict(o, to); errno != fs.OK {
			return errno
		}
	}
	return n.LoopbackNode.Rename(ctx, name, parent.(*faultyNode).LoopbackNode, newName, flags)
}

func (n *faultyNode) Unlink(ctx context.Context, name string) syscall.Errno {
	if errno := n.dir.verdict(opRemove, n.Path(nil)+"/"+name); errno != fs.OK {
		return errno
	}
	return n.LoopbackNode.Unlink(ctx, name)
}

func (n *faultyNode) Rmdir(ctx context.Context, name string) syscall.Errno {
	if errno := n.dir.verdict(opRemove, n.Path(nil)+"/"+name); errno != fs.OK {
		return errno
	}
	return n.LoopbackNode.Rmdir(ctx, name)
}

func (n *faultyNode) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	h, flags, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if errno != fs.OK {
		return nil, 0, errno
	}
	return &faultyStream{h.(directory), n}, flags, fs.OK
}

// directory is what the file system below gives for one that is open.
type directory interface {
	fs.FileReaddirenter
	fs.FileReleasedirer
	fs.FileSeekdirer
	fs.FileFsyncdirer
}

type faultyStream struct {
	directory
	node *faultyNode
}

func (s *faultyStream) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	if errno := s.node.verdict(opSyncDir); errno != fs.OK {
		return errno
	}
	return s.directory.Fsyncdir(ctx, flags)
}
