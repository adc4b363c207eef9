package systemdtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Cgroups below the cgroup that has the machine's name.
const (
	// machineGroup is the root of the machine's own cgroup namespace.
	machineGroup = "machine"
	// commandsGroup, below it, holds the commands of Machine.Command. systemd does not know it and
	// leaves it alone.
	commandsGroup = "systemdtest"
	// entryGroup holds their stand-ins. They are outside the machine's PID namespace and would show
	// as PID 0 in its cgroups, which systemctl status reports as an I/O error.
	entryGroup = "entry"
)

// cgroupMount returns where cgroup v2 is mounted: /sys/fs/cgroup, or a directory below it on a hybrid
// host; "" if cgroup v2 is not mounted.
func cgroupMount() string {
	mount, _ := findCgroupMount()
	return mount
}

// findCgroupMount returns the mount point, and the cgroup that is its root.
func findCgroupMount() (point, root string) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", ""
	}
	for _, line := range strings.Split(string(data), "\n") {
		left, right, ok := strings.Cut(line, " - ")
		fields := strings.Fields(left)
		if ok && len(fields) > 5 && strings.HasPrefix(right, "cgroup2 ") {
			return unescapeMount(fields[4]), unescapeMount(fields[3])
		}
	}
	return "", ""
}

// cgroupParent returns the directory of the caller's own cgroup: a machine below it is within the
// caller's limits, and when the host's systemd ends the caller's unit, it ends the machine too.
func cgroupParent() (string, error) {
	mount, root := findCgroupMount()
	if mount == "" {
		return "", errors.New("cgroup v2 is not mounted: boot the host without systemd.unified_cgroup_hierarchy=0, or mount it (mount -t cgroup2 none /sys/fs/cgroup)")
	}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(data), "\n") {
		path, ok := strings.CutPrefix(line, "0::")
		if !ok {
			continue
		}
		// The path and the mount's root are both relative to the cgroup namespace.
		own := filepath.Join(mount, strings.TrimPrefix(path, strings.TrimSuffix(root, "/")))
		if _, err := os.Stat(own); err == nil {
			return own, nil
		}
	}
	return mount, nil
}

// removeCgroup kills every process in a cgroup and below it, and removes the directories.
func removeCgroup(dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	kill := filepath.Join(dir, "cgroup.kill")
	if err := os.WriteFile(kill, []byte("1"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kill the processes of cgroup %s: %w", dir, err)
	}
	var last error
	gone := waitFor(patience, func() bool {
		last = removeCgroupDirs(dir)
		return last == nil
	})
	if !gone {
		return fmt.Errorf("remove cgroup %s: %w", dir, last)
	}
	return nil
}

func removeCgroupDirs(top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}
