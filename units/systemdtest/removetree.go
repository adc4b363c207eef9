package systemdtest

import (
	"fmt"
	"os"
	"strings"
)

// removeTree is os.RemoveAll, but refuses a directory at which or below which something is mounted. os.RemoveAll does not notice a mount:
// below a bind mount of / it would remove the files of the host.
func removeTree(dir string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if point, found := mountBelow(string(data), dir); found {
		return fmt.Errorf("%s is not removed: %s is a mount point; unmount it first", dir, point)
	}
	return os.RemoveAll(dir)
}

// mountBelow returns a mount point that is a directory or lies below it.
func mountBelow(mountinfo, dir string) (string, bool) {
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if point := unescapeMount(fields[4]); point == dir || strings.HasPrefix(point, dir+"/") {
			return point, true
		}
	}
	return "", false
}
