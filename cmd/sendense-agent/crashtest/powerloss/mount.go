package powerloss

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// forever is how long the kernel may remember names and attributes: nothing changes them behind its back.
var forever = time.Hour

// Mount puts an empty file system on a directory that exists; its top belongs to the caller. unmount takes it away again.
// Every user may enter it, as far as modes allow. It needs root and /dev/fuse.
//
// Do not map a file of it into the memory of the same process: a page fault would stop the thread that has to answer it.
func (r *Recorder) Mount(dir string) (unmount func() error, err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	attrs := Attrs{Dir: true, Mode: uint32(info.Mode().Perm()), UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	top := &node{recorder: r, path: filepath.Base(dir), attrs: attrs}
	r.mu.Lock()
	top.id = r.newInode()
	r.roots = append(r.roots, Root{Inode: top.id, Path: dir, Attrs: attrs})
	r.mu.Unlock()
	_, err = fs.Mount(dir, top, &fs.Options{
		EntryTimeout: &forever, AttrTimeout: &forever,
		NullPermissions: true,
		MountOptions: fuse.MountOptions{
			AllowOther: true, Options: []string{"default_permissions"}, DirectMountStrict: true,
			FsName: "powerloss", Name: "powerloss", DisableXAttrs: true, MaxWrite: 512 << 10,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("mounting a file system on %s (is there a /dev/fuse?): %w", dir, err)
	}
	return func() error { return syscall.Unmount(dir, 0) }, nil // which also ends the server
}
