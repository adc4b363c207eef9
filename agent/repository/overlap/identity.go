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

// An Inode is one directory, by whatever path. It is the same through a symbolic link and through a bind mount.
type Inode struct{ Dev, Ino uint64 }

// A Location is where a directory lies in its file system. It finds a bind mount of a directory that lies within another one, where
// ".." leads elsewhere.
type Location struct {
	Device string // of the file system, as in mountinfo; "" if it is not known
	Path   string
}

// An Identity distinguishes a directory from others.
type Identity struct {
	Inode
	Above    []Inode // the directories that it lies in, up to the root
	Location Location
}

// Identify finds the directory that a path leads to, through links. It hangs if the file system hangs.
func Identify(path string) (Identity, error) {
	// Opened for reading, which triggers an automount.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return Identity{}, err
	}
	defer f.Close()
	return IdentityOf(f)
}

// IdentityOf describes an open directory.
func IdentityOf(dir *os.File) (Identity, error) {
	fd := int(dir.Fd())
	self, err := inodeAt(fd, ".")
	if err != nil {
		return Identity{}, err
	}
	found := Identity{Inode: self, Location: locationOf(fd)}
	// As far up as the agent has access: a directory without access cannot be one of its repositories.
	for at, up := self, ".."; len(found.Above) < maxDepth; up += "/.." {
		parent, err := inodeAt(fd, up)
		if err != nil || parent == at {
			break
		}
		found.Above = append(found.Above, parent)
		at = parent
	}
	return found, nil
}

// maxDepth is more than the parts of any path: PATH_MAX / 2.
const maxDepth = 2048

func inodeAt(fd int, path string) (Inode, error) {
	var st unix.Stat_t
	err := unix.Fstatat(fd, path, &st, unix.AT_NO_AUTOMOUNT)
	return Inode{st.Dev, st.Ino}, err
}

// locationOf finds a directory in its file system: the kernel tells the mount of an open directory, and mountinfo which part of its file
// system that mount shows. Without one of them the location is not known.
func locationOf(fd int) Location {
	own := "/proc/self/fd/" + strconv.Itoa(fd)
	path, err := os.Readlink(own)
	if err != nil {
		return Location{}
	}
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return Location{}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Location{}
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
func locate(path, mount, mountinfo string) Location {
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 || mount == "" || f[0] != mount {
			continue
		}
		below, err := filepath.Rel(unescape(f[4]), path)
		if err != nil || below == ".." || strings.HasPrefix(below, "../") {
			return Location{}
		}
		return Location{Device: f[2], Path: filepath.Join(unescape(f[3]), below)}
	}
	return Location{}
}

// unescape decodes octal escapes such as \040.
func unescape(text string) string {
	for _, c := range []byte(" \t\n\\") {
		text = strings.ReplaceAll(text, fmt.Sprintf(`\%03o`, c), string(c))
	}
	return text
}

// A Relation is how two directories lie to each other.
type Relation string

const (
	apart        Relation = ""
	same         Relation = "same"
	mountedTwice Relation = "mounted twice" // the same, which only a trial can find
	inside       Relation = "inside"
	outside      Relation = "outside" // the other lies inside it
)

// to says how a directory lies to another.
func (a Identity) to(b Identity) Relation {
	switch {
	case a.Inode == b.Inode || a.Location.Device != "" && a.Location == b.Location:
		return same
	case slices.Contains(a.Above, b.Inode) || a.Location.within(b.Location):
		return inside
	case slices.Contains(b.Above, a.Inode) || b.Location.within(a.Location):
		return outside
	}
	return apart
}

func (l Location) within(other Location) bool {
	return l.Device != "" && l.Device == other.Device && l.Path != other.Path &&
		strings.HasPrefix(l.Path, strings.TrimSuffix(other.Path, "/")+"/")
}
