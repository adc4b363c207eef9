package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/restore"
)

// guestfish looks for what single files are read with. Backups need nothing of it.
func (h *host) guestfish(context.Context) []Finding {
	about := one("guestfish", h.config.Restore.Guestfish)
	info, err := os.Stat(h.config.Restore.Guestfish)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return about.warn("there is no such program: single files cannot be read out of restore points", restore.GuestfishHint)
	case err != nil:
		return about.warn("cannot be looked at: "+err.Error(), restore.GuestfishHint)
	case info.Mode().Perm()&0o111 == 0:
		return about.warn("cannot be run", restore.GuestfishHint)
	}
	return kernelFor(about, "/boot/vmlinuz-*")
}

// kernelFor looks for a kernel that the appliance can be made of, by a user without rights.
func kernelFor(about subject, pattern string) []Finding {
	kernels, _ := filepath.Glob(pattern)
	modules, _ := filepath.Glob("/lib/modules/*/vmlinuz") // where Red Hat has them
	kernels = append(kernels, modules...)
	for _, kernel := range kernels {
		if info, err := os.Stat(kernel); err == nil && info.Mode().Perm()&0o004 != 0 {
			return about.ok("is there, and a kernel for its appliance")
		}
	}
	if len(kernels) > 0 {
		return about.warn("finds no kernel for its appliance: not everybody may read "+kernels[0],
			"chmod 0644 "+kernels[0]+" (Ubuntu: and dpkg-statoverride --add root root 0644 "+kernels[0]+", so that it stays so)")
	}
	return about.warn("finds no kernel for its appliance in /boot", "install a kernel package: linux-image-amd64")
}
