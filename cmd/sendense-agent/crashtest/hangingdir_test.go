package crashtest_test

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A hang is a time in which a faultyDir answers nothing: it begins with one operation and ends when a test releases it. The server has
// read the requests and does not answer them, so the kernel lets no process end that waits for one, not even one that is killed.
type hang struct {
	begins func(operation, path string) bool

	starts, ends sync.Once
	began, ended chan struct{}
}

// hangWhen has everything hang from the operation on for which begins is true, until heal or release.
func (d *faultyDir) hangWhen(begins func(operation, path string) bool) *hang {
	h := &hang{begins: begins, began: make(chan struct{}), ended: make(chan struct{})}
	d.hangs.Store(h)
	return h
}

func (h *hang) begin()   { h.starts.Do(func() { close(h.began) }) }
func (h *hang) release() { h.ends.Do(func() { close(h.ended) }) }

// reached begins the hang if the operation is the one, and returns when there is no hang.
func (d *faultyDir) reached(operation, path string) {
	if h := d.hangs.Load(); h != nil && h.begins(operation, path) {
		h.begin()
	}
	d.wait()
}

// wait returns when there is no hang.
func (d *faultyDir) wait() {
	h := d.hangs.Load()
	if h == nil {
		return
	}
	select {
	case <-h.began:
		<-h.ended
	default:
	}
}

// hangingFS is the file system of a faultyDir: every request waits while there is a hang.
type hangingFS struct {
	fuse.RawFileSystem
	dir *faultyDir
}

func (f *hangingFS) Lookup(cancel <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.Lookup(cancel, header, name, out)
}

func (f *hangingFS) GetAttr(cancel <-chan struct{}, input *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.GetAttr(cancel, input, out)
}

func (f *hangingFS) SetAttr(cancel <-chan struct{}, input *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.SetAttr(cancel, input, out)
}

func (f *hangingFS) Mkdir(cancel <-chan struct{}, input *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.Mkdir(cancel, input, name, out)
}

func (f *hangingFS) Unlink(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.Unlink(cancel, header, name)
}

func (f *hangingFS) Rmdir(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.Rmdir(cancel, header, name)
}

func (f *hangingFS) Rename(cancel <-chan struct{}, input *fuse.RenameIn, oldName, newName string) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.Rename(cancel, input, oldName, newName)
}

func (f *hangingFS) Access(cancel <-chan struct{}, input *fuse.AccessIn) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.Access(cancel, input)
}

func (f *hangingFS) Create(cancel <-chan struct{}, input *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.Create(cancel, input, name, out)
}

func (f *hangingFS) Open(cancel <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.Open(cancel, input, out)
}

func (f *hangingFS) Read(cancel <-chan struct{}, input *fuse.ReadIn, into []byte) (fuse.ReadResult, fuse.Status) {
	f.dir.wait()
	return f.RawFileSystem.Read(cancel, input, into)
}

func (f *hangingFS) Write(cancel <-chan struct{}, input *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	f.dir.wait()
	return f.RawFileSystem.Write(cancel, input, data)
}

func (f *hangingFS) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.Lseek(cancel, in, out)
}

func (f *hangingFS) Flush(cancel <-chan struct{}, input *fuse.FlushIn) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.Flush(cancel, input)
}

func (f *hangingFS) Fsync(cancel <-chan struct{}, input *fuse.FsyncIn) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.Fsync(cancel, input)
}

func (f *hangingFS) Fallocate(cancel <-chan struct{}, input *fuse.FallocateIn) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.Fallocate(cancel, input)
}

func (f *hangingFS) OpenDir(cancel <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.OpenDir(cancel, input, out)
}

func (f *hangingFS) ReadDir(cancel <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.ReadDir(cancel, input, out)
}

func (f *hangingFS) ReadDirPlus(cancel <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.ReadDirPlus(cancel, input, out)
}

func (f *hangingFS) FsyncDir(cancel <-chan struct{}, input *fuse.FsyncIn) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.FsyncDir(cancel, input)
}

func (f *hangingFS) StatFs(cancel <-chan struct{}, input *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.StatFs(cancel, input, out)
}

func (f *hangingFS) Statx(cancel <-chan struct{}, input *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	f.dir.wait()
	return f.RawFileSystem.Statx(cancel, input, out)
}
