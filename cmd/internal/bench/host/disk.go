package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ReadFrom is how many bytes were read from the disk that a path lies on, by all processes since the start of the machine
// (Documentation/block/stat.rst of Linux).
func ReadFrom(path string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, err
	}
	name := fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Dev), unix.Minor(st.Dev))
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 3 {
		return 0, fmt.Errorf("%s: %q: want at least 3 numbers", name, text)
	}
	sectors, err := strconv.ParseInt(fields[2], 10, 64)
	return sectors * 512, err
}
