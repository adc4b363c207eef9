package systemdtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// changeRoot builds the machine's tree and makes it the root of this mount namespace: the host's files,
// or those of another base, below an overlay in memory, with API file systems and temporary directories
// of the machine's own.
func changeRoot(base string, binds []string) error {
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	// Open the sources before mounts cover them.
	sources, err := openAll(binds)
	if err != nil {
		return err
	}
	var submounts []string
	if base == "" {
		base, submounts = "/", hostSubmounts()
	}
	root, err := layBase(base)
	if err != nil {
		return err
	}
	for i, dir := range submounts {
		if err := overlay(dir, filepath.Join(root, dir), fmt.Sprintf("%s/sub%d", workDir, i)); err != nil {
			return err
		}
	}
	if err := mountOwn(root); err != nil {
		return err
	}
	for _, s := range sources {
		if err := s.bindTo(filepath.Join(root, s.path)); err != nil {
			return err
		}
	}
	return pivot(root)
}

// workDir is where the tree is built. Every host has it. The mount is in our namespace only and cannot be seen outside.
const workDir = "/tmp"

// layBase mounts a file system in memory at workDir and the base below it, with all changes kept in memory. It returns the path of the
// tree. The base may be below workDir itself: it is opened before it is covered.
func layBase(base string) (string, error) {
	opened, err := os.Open(base)
	if err != nil {
		return "", fmt.Errorf("root of the machine: %w", err)
	}
	defer opened.Close()
	if err := mount("tmpfs", workDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return "", err
	}
	root := filepath.Join(workDir, "root")
	return root, overlay(fmt.Sprintf("/proc/self/fd/%d", opened.Fd()), root, filepath.Join(workDir, "top"))
}

// overlay mounts lower at target, with all changes kept in memory.
func overlay(lower, target, work string) error {
	upper, scratch := filepath.Join(work, "upper"), filepath.Join(work, "work")
	for _, dir := range []string{target, upper, scratch} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// The upper directory becomes the root directory of the mount, so it needs the mode of the lower.
	if info, err := os.Stat(lower); err == nil {
		if err := os.Chmod(upper, info.Mode()); err != nil {
			return err
		}
	}
	options := "lowerdir=" + escapeOverlay(lower) + ",upperdir=" + upper + ",workdir=" + scratch
	return mount("overlay", target, "overlay", 0, options)
}

func escapeOverlay(path string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(path)
}

// mountOwn mounts the file systems of the machine's own.
func mountOwn(root string) error {
	const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, m := range []struct {
		kind, at string
		flags    uintptr
		options  string
	}{
		{"proc", "proc", plain, ""},
		// Read-only: nothing in the machine may change the host's hardware or kernel.
		{"sysfs", "sys", plain | unix.MS_RDONLY, ""},
		{"cgroup2", "sys/fs/cgroup", plain, ""},
		{"tmpfs", "run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"tmpfs", "tmp", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"tmpfs", "var/tmp", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"tmpfs", "dev", unix.MS_NOSUID, "mode=0755"},
	} {
		if err := os.MkdirAll(filepath.Join(root, m.at), 0o755); err != nil {
			return err
		}
		if err := mount(m.kind, filepath.Join(root, m.at), m.kind, m.flags, m.options); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "run/lock"), 0o1777); err != nil {
		return err
	}
	if err := newBootID(root); err != nil {
		return err
	}
	return fillDev(filepath.Join(root, "dev"))
}

// newBootID gives the machine a boot id of its own instead of the kernel's, as systemd-nspawn does: a machine that boots on the
// directories of an earlier one is the same host after a restart.
func newBootID(root string) error {
	id, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	if err != nil {
		return err
	}
	file := filepath.Join(root, "run/boot-id")
	if err := os.WriteFile(file, id, 0o444); err != nil {
		return err
	}
	return mount(file, filepath.Join(root, "proc/sys/kernel/random/boot_id"), "", unix.MS_BIND, "")
}

// fillDev gives the machine a /dev of its own: systemd makes links in it, such as /dev/log.
func fillDev(dev string) error {
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty", "fuse", "kvm"} {
		host := filepath.Join("/dev", name)
		if _, err := os.Stat(host); err != nil {
			continue
		}
		node := filepath.Join(dev, name)
		if err := os.WriteFile(node, nil, 0o666); err != nil {
			return err
		}
		if err := mount(host, node, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	for link, to := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(to, filepath.Join(dev, link)); err != nil {
			return err
		}
	}
	for _, m := range []struct{ kind, at, options string }{
		{"devpts", "pts", "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{"tmpfs", "shm", "mode=1777"},
		{"mqueue", "mqueue", ""},
	} {
		at := filepath.Join(dev, m.at)
		if err := os.Mkdir(at, 0o755); err != nil {
			return err
		}
		if err := mount(m.kind, at, m.kind, unix.MS_NOSUID|unix.MS_NOEXEC, m.options); err != nil {
			return err
		}
	}
	return nil
}

// pivot makes root the root directory and unmounts the old one: pivot_root(".", ".") mounts the old root
// on the new, see pivot_root(2).
func pivot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root %s: %w", root, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	// systemd does this on a host, and leaves it to the container manager in a container. Without it a
	// service gets no credentials, and does not see file systems that are mounted after its start.
	return mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", kind, target, err)
	}
	return nil
}
