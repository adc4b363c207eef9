package overlap

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// An inode is one directory, by whatever path. It is the same through a symbolic link and through a bind mount.
type inode struct{ dev, ino uint64 }

// A location is where a directory lies in its file system. It finds a bind mount of a directory that lies within another one, where
// ".." leads elsewhere.
type location struct {
	device string // of the file system, as in mountinfo; "" if it is not known
	path   string
}

// An identity distinguishes a directory from others.
type identity struct {
	inode
	above    []inode // the directories that it lies in, up to the root
	location location
}

// identify finds the directory that a path leads to, through links. It hangs if the file system hangs.
func identify(path string) (identity, error) {
	// Opened for reading, which triggers an automount.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return identity{}, err
	}
	defer f.Close()
	return identityOf(f)
}

func identityOf(dir *os.File) (identity, error) {
	fd := int(dir.Fd())
	self, err := inodeAt(fd, ".")
	if err != nil {
		return identity{}, err
	}
	found := identity{inode: self, location: locationOf(fd)}
	// As far up as the agent has access: a directory without access cannot be one of its repositories.
	for at, up := self, ".."; len(found.above) < maxDepth; up += "/.." {
		parent, err := inodeAt(fd, up)
		if err != nil || parent == at {
			break
		}
		found.above = append(found.above, parent)
		at = parent
	}
	return found, nil
}

// maxDepth is more than the parts of any path: PATH_MAX / 2.
const maxDepth = 2048

func inodeAt(fd int, path string) (inode, error) {
	var st unix.Stat_t
	err := unix.Fstatat(fd, path, &st, unix.AT_NO_AUTOMOUNT)
	return inode{st.Dev, st.Ino}, err
}

// locationOf finds a directory in its file system: the kernel tells the mount of an open directory, and mountinfo which part of its file
// system that mount shows. Without one of them the location is not known.
func locationOf(fd int) location {
	own := "/proc/self/fd/" + strconv.Itoa(fd)
	path, err := os.Readlink(own)
	if err != nil {
		return location{}
	}
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return location{}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return location{}
	}
	return locate(path, mountID(string(info)), string(mounts))
}

// mountID reads proc_pid_fdinfo(5).
func mountID(fdinfo string) string {
	for line := range strings.Lines(fdinfo) {
		if id, found := strings.CutPrefix(line, "mnt_id:"); found {
			return strings.TrimSpace(id)
		}
	}
	return ""
}

// locate reads proc_pid_mountinfo(5): of each mount its id, the id of its parent, the device, the part that it shows, and its mount point.
func locate(path, mount, mountinfo string) location {
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 || mount == "" || f[0] != mount {
			continue
		}
		below, err := filepath.Rel(unescape(f[4]), path)
		if err != nil || below == ".." || strings.HasPrefix(below, "../") {
			return location{}
		}
		return location{device: f[2], path: filepath.Join(unescape(f[3]), below)}
	}
	return location{}
}

// unescape decodes octal escapes such as \040.
func unescape(text string) string {
	for _, c := range []byte(" \t\n\\") {
		text = strings.ReplaceAll(text, fmt.Sprintf(`\%03o`, c), string(c))
	}
	return text
}

// A relation is how two directories lie to each other.
type relation string

const (
	apart        relation = ""
	same         relation = "same"
	mountedTwice relation = "mounted twice" // the same, which only a trial can find
	inside       relation = "inside"
	outside      relation = "outside" // the other lies inside it
)

// to says how a directory lies to another.
func (a identity) to(b identity) relation {
	switch {
	case a.inode == b.inode || a.location.device != "" && a.location == b.location:
		return same
	case slices.Contains(a.above, b.inode) || a.location.within(b.location):
		return inside
	case slices.Contains(b.above, a.inode) || b.location.within(a.location):
		return outside
	}
	return apart
}

func (l location) within(other location) bool {
	return l.device != "" && l.device == other.device && l.path != other.path &&
		strings.HasPrefix(l.path, strings.TrimSuffix(other.path, "/")+"/")
}
