package doctor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MissingMount returns the mount point of a path according to /etc/fstab, if nothing is mounted there.
func MissingMount(path string) string {
	fstab, err := os.ReadFile("/etc/fstab")
	if err != nil {
		return "" // without fstab no mount is expected
	}
	mounted, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return expectedMount(path, string(fstab), string(mounted))
}

// expectedMount reads fstab(5) and mountinfo, proc_pid_mountinfo(5).
func expectedMount(path, fstab, mountinfo string) string {
	there := map[string]bool{}
	for line := range strings.Lines(mountinfo) {
		if f := strings.Fields(line); len(f) > 4 {
			there[unescape(f[4])] = true
		}
	}
	expected := ""
	for line := range strings.Lines(fstab) {
		f := strings.Fields(line)
		if len(f) < 4 || strings.HasPrefix(f[0], "#") || strings.Contains(","+f[3]+",", ",noauto,") {
			continue
		}
		point := filepath.Clean(unescape(f[1]))
		if (path == point || strings.HasPrefix(path, point+"/")) && point != "/" && len(point) > len(expected) {
			expected = point
		}
	}
	if there[expected] {
		return ""
	}
	return expected
}

// unescape decodes octal escapes such as \040.
func unescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
