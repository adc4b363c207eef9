package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/sendense/backup-agent/nbd/qemu"
)

// leastQEMU is the first version with everything that is used: extended_l2 came last.
var leastQEMU = [2]int{5, 2}

func (h *host) qemuImg(ctx context.Context) []Finding {
	version, err := qemu.Tools{QemuImg: h.config.NBD.QemuImg}.Version(ctx)
	about := one("qemu-img", h.config.NBD.QemuImg)
	return append(qemuVersion(about, version, err), confinement(about, qemu.Confined())...)
}

// confinement warns where qemu-img, which reads untrusted images, may read more than the image that it is run for.
func confinement(about subject, err error) []Finding {
	if err == nil {
		return nil
	}
	return about.warn("is not confined to the image that it is run for: "+strings.ReplaceAll(err.Error(), "\n", "; "),
		"use a kernel with Landlock (Linux 5.13, lsm=landlock in its command line), and allow its system calls in the "+
			"daemon's unit: SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp")
}

func (h *host) qemuNBD(ctx context.Context) []Finding {
	version, err := qemu.ServerVersion(ctx, h.config.NBD.QemuNBD)
	return qemuVersion(one("qemu-nbd", h.config.NBD.QemuNBD), version, err)
}

// qemuVersion judges what a program of QEMU says of itself.
func qemuVersion(about subject, version string, err error) []Finding {
	key := "nbd." + strings.ReplaceAll(about.check, "-", "_")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return about.error("there is no such program", fmt.Sprintf("install qemu-utils, or set %s to where it is", key))
	case err != nil:
		return about.error("cannot be run: "+err.Error(), fmt.Sprintf("install qemu-utils again, or set %s to another program", key))
	}
	number, ok := parseVersion(version)
	switch {
	case !ok:
		return with(about.warn(fmt.Sprintf("says %q of itself, which is no version", version),
			fmt.Sprintf("set %s to the program of QEMU", key)), "version", version)
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
