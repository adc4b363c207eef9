package destination

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// usersOf lists what uses a block device or a partition of it, according to the kernel.
func usersOf(path string) string {
	numbers := blockNumbers(path)
	var list []string
	for number, name := range numbers {
		holders, _ := os.ReadDir(filepath.Join("/sys/dev/block", number, "holders"))
		for _, h := range holders {
			list = append(list, fmt.Sprintf("%s is used by %s", name, mappingOf(h.Name())))
		}
	}
	list = append(list, mountsOf(numbers)...)
	list = append(list, swapsOf(numbers)...)
	slices.Sort(list)
	if len(list) == 0 {
		return "it is mounted, swap space, or part of a RAID or of LVM"
	}
	return strings.Join(list, ", ")
}

// blockNumbers are the names of a device and its partitions, by "major:minor".
func blockNumbers(path string) map[string]string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil
	}
	own := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	numbers := map[string]string{own: path}
	parts, _ := filepath.Glob(filepath.Join("/sys/dev/block", own, "*", "partition"))
	for _, p := range parts {
		dir := filepath.Dir(p)
		if number, err := os.ReadFile(filepath.Join(dir, "dev")); err == nil {
			numbers[strings.TrimSpace(string(number))] = "/dev/" + filepath.Base(dir)
		}
	}
	return numbers
}

// mappingOf is the well-known name of a holder.
func mappingOf(kernelName string) string {
	if name, err := os.ReadFile(filepath.Join("/sys/block", kernelName, "dm/name")); err == nil {
		return "/dev/mapper/" + strings.TrimSpace(string(name))
	}
	return "/dev/" + kernelName
}

// mountsOf reads proc_pid_mountinfo(5): the third field is the device, the fifth the mount point.
func mountsOf(numbers map[string]string) (list []string) {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 4 && numbers[f[2]] != "" {
			list = append(list, fmt.Sprintf("%s is mounted on %s", numbers[f[2]], f[4]))
		}
	}
	return list
}

func swapsOf(numbers map[string]string) (list []string) {
	text, _ := os.ReadFile("/proc/swaps")
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[1] != "partition" {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(f[0], &st); err != nil {
			continue
		}
		if name := numbers[fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))]; name != "" {
			list = append(list, name+" is swap space")
		}
	}
	return list
}
