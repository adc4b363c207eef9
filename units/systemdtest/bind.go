package systemdtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// source is a host file or directory to share, held open so that later mounts cannot hide it.
type source struct {
	path string
	fd   int
	dir  bool
}

func openAll(paths []string) ([]source, error) {
	var sources []source
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("bind %s: %w", path, err)
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("bind %s: %w", path, err)
		}
		sources = append(sources, source{path: path, fd: fd, dir: info.IsDir()})
	}
	return sources, nil
}

// bindTo mounts the source at target and closes it.
func (s source) bindTo(target string) error {
	defer unix.Close(s.fd)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if s.dir {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
	} else if f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o644); err != nil {
		return err
	} else {
		_ = f.Close()
	}
	from := "/proc/self/fd/" + strconv.Itoa(s.fd)
	if err := unix.Mount(from, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", s.path, err)
	}
	return nil
}

// hostSubmounts returns the mount points of the host's other file systems, such as a separate /usr or
// /home, outermost first: an overlay over / does not show them. File systems that the machine makes
// itself and those of the kernel are left out.
func hostSubmounts() []string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var dirs []string
	for _, line := range strings.Split(string(data), "\n") {
		left, right, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 5 || len(kind) == 0 || !isDiskKind(kind[0]) {
			continue
		}
		point := unescapeMount(fields[4])
		info, err := os.Stat(point)
		if err == nil && info.IsDir() && !isMachines(point) && !slices.Contains(dirs, point) {
			dirs = append(dirs, point)
		}
	}
	slices.SortFunc(dirs, func(a, b string) int { return len(a) - len(b) })
	return dirs
}

func isDiskKind(kind string) bool {
	switch kind {
	case "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "erofs", "squashfs", "overlay", "virtiofs", "9p", "bcachefs":
		return true
	}
	return false
}

func isMachines(point string) bool {
	if point == "/" {
		return true
	}
	for _, top := range []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/boot"} {
		if point == top || strings.HasPrefix(point, top+"/") {
			return true
		}
	}
	return false
}

// unescapeMount undoes the octal escapes of mountinfo (proc(5)).
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
