package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units/spawn"
)

// leastQEMU is the first version with all features that the agent needs. The last of them was extended_l2.
var leastQEMU = [2]int{5, 2}

func (h *host) qemuImg(ctx context.Context) []Finding {
	version, err := qemu.Tools{QemuImg: h.config.NBD.QemuImg}.Version(ctx)
	about := one("qemu-img", h.config.NBD.QemuImg)
	return slices.Concat(qemuVersion(about, version, err), confinement(about, qemu.Confined()), separation(about, spawn.Supported()))
}

// separation warns if programs are started with a copy of all descriptors of the daemon.
func separation(about subject, err error) []Finding {
	if err == nil {
		return nil
	}
	return about.warn("a repository that hangs can block its start for all repositories: "+err.Error(),
		"use Linux 5.9 or later, and allow these system calls in the daemon's unit: SystemCallFilter=close_range pidfd_open pidfd_getfd")
}

// confinement warns if qemu-img, which reads untrusted images, can read more than the image that it is run for.
func confinement(about subject, err error) []Finding {
	if err == nil {
		return nil
	}
	return about.warn("cannot be confined to the image that it works on: "+strings.ReplaceAll(err.Error(), "\n", "; "),
		"use a kernel with Landlock (Linux 5.13, lsm=landlock in its command line), and allow its system calls in the "+
			"daemon's unit: SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp")
}

func (h *host) qemuNBD(ctx context.Context) []Finding {
	version, err := qemu.ServerVersion(ctx, h.config.NBD.QemuNBD)
	return qemuVersion(one("qemu-nbd", h.config.NBD.QemuNBD), version, err)
}

// qemuVersion checks the version that a program of QEMU reports.
func qemuVersion(about subject, version string, err error) []Finding {
	key := "nbd." + strings.ReplaceAll(about.check, "-", "_")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return about.error("not found", fmt.Sprintf("install qemu-utils, or set %s to its path", key))
	case err != nil:
		return about.error("cannot be run: "+err.Error(), fmt.Sprintf("install qemu-utils again, or set %s to another program", key))
	}
	number, ok := parseVersion(version)
	switch {
	case !ok:
		return with(about.warn(fmt.Sprintf("reports %q, which is not a version", version),
			fmt.Sprintf("set %s to QEMU's program", key)), "version", version)
	case number[0] < leastQEMU[0] || number[0] == leastQEMU[0] && number[1] < leastQEMU[1]:
		return with(about.error(fmt.Sprintf("version %s is older than %d.%d", version, leastQEMU[0], leastQEMU[1]),
			"install a newer qemu-utils"), "version", version)
	}
	return with(about.ok("version "+version), "version", version)
}

// parseVersion reads the first two numbers of "7.2.22 (Debian ...)".
func parseVersion(text string) (number [2]int, ok bool) {
	major, rest, found := strings.Cut(text, ".")
	minor, _, _ := strings.Cut(rest, ".")
	minor, _, _ = strings.Cut(minor, " ")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	return [2]int{a, b}, found && errA == nil && errB == nil
}
