package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
)

// A section is one kind of measurement.
type section struct {
	name string
	run  func(context.Context, settings) (figures.Part, error)
}

var sections = []section{
	{"start", measureStart},
	{"cpu", measureCPU},
	{"unit", measureUnit},
	{"full", measureFull},
	{"disks", measureDisks},
	{"allocator", measureAllocator},
	{"options", measureOptions},
	{"zeroes", measureZeroes},
	{"incremental", measureIncremental},
	{"end", measureEnd},
	{"chain", measureChain},
	{"merge", measureMerge},
	{"records", measureRecords},
	{"exports", measureExports},
	{"calls", measureCalls},
}

func sectionNames() []string {
	return []string{"start", "cpu", "unit", "full", "disks", "allocator", "options", "zeroes", "incremental", "end", "chain", "merge", "records", "exports", "calls"}
}

func indexOf(name string) int {
	return slices.IndexFunc(sections, func(s section) bool { return s.name == name })
}

// tools are the programs that are measured beside the agent, with the Debian package of each.
var tools = map[string]string{
	"qemu-nbd": "qemu-utils", "qemu-img": "qemu-utils", "qemu-storage-daemon": "qemu-system-common",
	"nbdkit": "nbdkit", "nbdcopy": "libnbd-bin", "dd": "coreutils",
}

func checkTools() error {
	var missing []string
	for tool, debian := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, fmt.Sprintf("%s (package %s)", tool, debian))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("not found: %s; .ci/deps bench installs them", strings.Join(missing, ", "))
}
