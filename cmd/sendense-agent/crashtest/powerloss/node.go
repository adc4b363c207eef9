package powerloss

import (
	"context"
	"path"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A node is a file or directory. What it holds changes only while the recorder's lock is held, together with the log.
type node struct {
	fs.Inode
	recorder *Recorder
	id       int
	path     string // the name it was given last, below the mount's own
	attrs    Attrs
	data     []byte
	changed  time.Time
}

var (
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeTmpfiler  = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeLinker    = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeAllocater = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.recorder.mu.Lock()
	defer n.recorder.mu.Unlock()
	n.fill(&out.Attr)
	return 0
}

func (n *node) fill(a *fuse.Attr) {
	a.Mode = n.attrs.Mode // the type is added by the library
	a.Owner = fuse.Owner{Uid: n.attrs.UID, Gid: n.attrs.GID}
	a.Size, a.Blocks, a.Blksize, a.Nlink = uint64(len(n.data)), uint64(len(n.data)+511)/512, 4096, 1
	a.SetTimes(&n.changed, &n.changed, &n.changed)
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.recorder.mu.Lock()
	defer n.recorder.mu.Unlock()
	before := n.attrs
	if mode, ok := in.GetMode(); ok {
		n.attrs.Mode = mode & 0o7777
	}
	if uid, ok := in.GetUID(); ok {
		n.attrs.UID = uid
	}
	if gid, ok := in.GetGID(); ok {
		n.attrs.GID = gid
	}
	if n.attrs != before {
		n.recorder.add(Op{Kind: Attr, Inode: n.id, Attr: n.attrs, Path: n.path})
	}
	if size, ok := in.GetSize(); ok && size != uint64(len(n.data)) {
		n.truncate(int64(size))
	}
	n.fill(&out.Attr)
	return 0
}

func (n *node) truncate(size int64) {
	n.data, n.changed = resized(n.data, size), time.Now()
	n.recorder.add(Op{Kind: Truncate, Inode: n.id, Offset: size, Path: n.path})
}

// resized is data of another length; what is new is zero.
func resized(data []byte, size int64) []byte {
	if size <= int64(len(data)) {
		return data[:size:size] // what lies behind must not come back when it grows again
	}
	return append(data, make([]byte, size-int64(len(data)))...)
}

func (n *node) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child := n.newChild(ctx, name, Attrs{Mode: mode & 0o7777}, out)
	return child, nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.newChild(ctx, name, Attrs{Dir: true, Mode: mode & 0o7777}, out), 0
}

// Tmpfile makes a file without a name, which goes when it is closed.
func (n *node) Tmpfile(ctx context.Context, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return n.newChild(ctx, "", Attrs{Mode: mode & 0o7777}, out), nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *node) newChild(ctx context.Context, name string, attrs Attrs, out *fuse.EntryOut) *fs.Inode {
	r := n.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	if caller, ok := fuse.FromContext(ctx); ok {
		attrs.UID, attrs.GID = caller.Uid, caller.Gid
	}
	child := &node{recorder: r, id: r.newInode(), path: path.Join(n.path, name), attrs: attrs, changed: time.Now()}
	r.add(Op{Kind: Make, Inode: child.id, Dir: n.id, Name: name, Attr: attrs, Path: child.path})
	child.fill(&out.Attr)
	kind := uint32(unix.S_IFREG)
	if attrs.Dir {
		kind = unix.S_IFDIR
	}
	return n.NewPersistentInode(ctx, child, fs.StableAttr{Mode: kind})
}

func (n *node) Link(_ context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	file, ok := target.(*node)
	if !ok || file.recorder != n.recorder {
		return nil, syscall.EXDEV
	}
	n.recorder.mu.Lock()
	defer n.recorder.mu.Unlock()
	file.path = path.Join(n.path, name)
	n.recorder.add(Op{Kind: Link, Inode: file.id, Dir: n.id, Name: name, Path: file.path})
	file.fill(&out.Attr)
	return target.EmbeddedInode(), 0
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	n.recorder.mu.Lock()
	defer n.recorder.mu.Unlock()
	n.recorder.add(Op{Kind: Remove, Dir: n.id, Name: name, Path: path.Join(n.path, name)})
	return 0
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	if child := n.GetChild(name); child != nil && len(child.Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	return n.Unlink(ctx, name)
}

func (n *node) Rename(_ context.Context, name string, newParent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	to, ok := newParent.(*node)
	if !ok || to.recorder != n.recorder {
		return syscall.EXDEV
	}
	if flags == unix.RENAME_EXCHANGE && !n.recorder.NoExchange {
		return n.exchange(name, to, newName)
	}
	if flags != 0 {
		return syscall.EINVAL
	}
	if there := to.GetChild(newName); there != nil && len(there.Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	n.recorder.mu.Lock()
	defer n.recorder.mu.Unlock()
	was := path.Join(n.path, name)
	if child, ok := n.GetChild(name).Operations().(*node); ok {
		child.path = path.Join(to.path, newName)
	}
	n.recorder.add(Op{Kind: Rename, Dir: n.id, Name: name, NewDir: to.id, NewName: newName, Path: was})
	return 0
}

func (n *node) exchange(name string, to *node, newName string) syscall.Errno {
	one, other := n.GetChild(name), to.GetChild(newName)
	if one == nil || other == nil {
		return syscall.ENOENT
	}
	n.recorder.mu.Lock()
	defer n.recorder.mu.Unlock()
	was := path.Join(n.path, name)
	one.Operations().(*node).path, other.Operations().(*node).path = path.Join(to.path, newName), was
	n.recorder.add(Op{Kind: Exchange, Dir: n.id, Name: name, NewDir: to.id, NewName: newName, Path: was})
	return 0
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	n.recorder.mu.Lock()
	defer n.recorder.mu.Unlock()
	if flags&syscall.O_TRUNC != 0 && len(n.data) > 0 {
		n.truncate(0)
	}
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.recorder.mu.Lock()
	defer n.recorder.mu.Unlock()
	if off >= int64(len(n.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, n.data[off:])]), 0
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	n.recorder.mu.Lock()
	defer n.recorder.mu.Unlock()
	n.write(data, off)
	return uint32(len(data)), 0
}

func (n *node) write(data []byte, off int64) {
	n.data, n.changed = written(n.data, data, off), time.Now()
	n.recorder.add(Op{Kind: Write, Inode: n.id, Offset: off, Data: data, Path: n.path})
}

// written is to, with data at an offset.
func written(to, data []byte, off int64) []byte {
	if end := off + int64(len(data)); end > int64(len(to)) {
		to = resized(to, end)
	}
	copy(to[off:], data)
	return to
}

// Allocate takes a hole, and a range of zeroes, for so many zeroes written.
func (n *node) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	n.recorder.mu.Lock()
	defer n.recorder.mu.Unlock()
	end := int64(off + size)
	if mode&unix.FALLOC_FL_KEEP_SIZE != 0 {
		end = min(end, int64(len(n.data)))
	}
	switch {
	case mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0 && end > int64(off):
		n.write(make([]byte, end-int64(off)), int64(off))
	case end > int64(len(n.data)):
		n.truncate(end)
	}
	return 0
}

// Fsync is for files and directories, and for fdatasync. That everything was written when it returns is what the log says;
// there is nothing else to be done.
func (n *node) Fsync(_ context.Context, _ fs.FileHandle, flags uint32) syscall.Errno {
	n.recorder.mu.Lock()
	defer n.recorder.mu.Unlock()
	const dataOnly = 1 // FUSE_FSYNC_FDATASYNC
	n.recorder.add(Op{Kind: Sync, Inode: n.id, DataOnly: flags&dataOnly != 0, Path: n.path})
	return 0
}

// Statfs reports more room than anybody needs.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	const blocks = 1 << 28
	*out = fuse.StatfsOut{Bsize: 4096, Frsize: 4096, Blocks: blocks, Bfree: blocks, Bavail: blocks, Files: blocks, Ffree: blocks, NameLen: 255}
	return 0
}
