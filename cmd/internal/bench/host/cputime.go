package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Busy is the CPU time of a process and all its threads, in nanoseconds; the clock ticks of its stat are too coarse.
func Busy(pid int) (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("process %d: no schedstat: %w", pid, err)
	}
	var sum time.Duration
	for _, path := range tasks {
		n, err := strconv.ParseInt(FirstWord(path), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// PIDOf finds a process of this machine by its name.
func PIDOf(name string) (int, error) {
	paths, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		if strings.TrimSpace(string(text)) == name {
			return strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return 0, fmt.Errorf("no process is called %s", name)
}

// CPUOf is the CPU time of a process, its threads and the children that it waited for (proc(5), stat).
func CPUOf(pid int) (own, children time.Duration, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may contain anything
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return 0, 0, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	var ticks [4]time.Duration
	for i, field := range fields[11:15] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0, err
		}
		ticks[i] = time.Duration(n) * time.Second / 100 // USER_HZ
	}
	return ticks[0] + ticks[1], ticks[2] + ticks[3], nil
}

// Memory is what the kernel says of the memory of a process.
type Memory struct {
	Faults         int64 // minor page faults since its start (proc(5), stat)
	Peak, Resident int64 // bytes (proc(5), status: VmHWM, VmRSS)
}

// MemoryOf reads the memory of a process.
func MemoryOf(pid int) (m Memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return m, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 8 {
		return m, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	if m.Faults, err = strconv.ParseInt(fields[7], 10, 64); err != nil {
		return m, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		var kib int64
		if n, _ := fmt.Sscanf(value, "%d kB", &kib); n != 1 {
			continue
		}
		switch name {
		case "VmHWM":
			m.Peak = kib << 10
		case "VmRSS":
			m.Resident = kib << 10
		}
	}
	return m, nil
}
