package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/restore"
)

// guestfish checks the program that reads single files. Backups do not need it.
func (h *host) guestfish(context.Context) []Finding {
	about := one("guestfish", h.config.Restore.Guestfish)
	info, err := os.Stat(h.config.Restore.Guestfish)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return about.warn("not found: single files cannot be read out of restore points", restore.GuestfishHint)
	case err != nil:
		return about.warn("cannot be checked: "+err.Error(), restore.GuestfishHint)
	case info.Mode().Perm()&0o111 == 0:
		return about.warn("is not executable", restore.GuestfishHint)
	}
	return kernelFor(about, "/boot/vmlinuz-*")
}

// kernelFor finds a kernel for guestfish's appliance that an ordinary user can read.
func kernelFor(about subject, pattern string) []Finding {
	kernels, _ := filepath.Glob(pattern)
	modules, _ := filepath.Glob("/lib/modules/*/vmlinuz") // where Red Hat has them
	kernels = append(kernels, modules...)
	for _, kernel := range kernels {
		if info, err := os.Stat(kernel); err == nil && info.Mode().Perm()&0o004 != 0 {
			return about.ok("found, with a kernel for its appliance")
		}
	}
	if len(kernels) > 0 {
		return about.warn("has no kernel for its appliance: ordinary users cannot read "+kernels[0],
			"chmod 0644 "+kernels[0]+" (Ubuntu: and dpkg-statoverride --add root root 0644 "+kernels[0]+", which keeps it so)")
	}
	return about.warn("has no kernel for its appliance in /boot", "install a kernel package: linux-image-amd64")
}
