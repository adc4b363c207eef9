package systemdtest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// unitDir holds the machine's own few units; /run is private to the machine.
const unitDir = "/run/systemdtest/units"

// GeneratorDir is where a test puts the generators that the machine runs at a daemon-reload (systemd.generator(7)). The distribution's
// generators do not run.
const GeneratorDir = unitDir + "/generators"

// defaultTarget is the target that a machine boots unless Options.FullBoot is set.
const defaultTarget = "systemdtest.target"

// unitSearchPath is where systemd looks for units: those made at run time and by tests, and the
// machine's own. Of the distribution's units only distroUnits are included: others would start udev,
// gettys and all that is installed.
var unitSearchPath = []string{
	"/etc/systemd/system.control",
	"/run/systemd/system.control",
	"/run/systemd/transient",
	"/run/systemd/system",
	"/run/systemd/generator",
	unitDir,
}

// distroUnits are the distribution's own units that a machine runs.
var distroUnits = []string{
	"dbus.service", "dbus.socket", "dbus-broker.service",
	"systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket",
}

// maskedUnits do not start in a full boot: they are for hardware, the network or the clock, or they wait
// for something that a machine does not have.
var maskedUnits = []string{
	"systemd-udevd.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
	"systemd-udev-trigger.service", "systemd-udev-settle.service", "systemd-modules-load.service",
	"systemd-sysctl.service", "systemd-timesyncd.service", "systemd-networkd.service", "systemd-networkd.socket",
	"systemd-resolved.service", "systemd-remount-fs.service", "systemd-random-seed.service",
	"systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount", "NetworkManager.service", "networking.service",
	"getty.target", "console-getty.service", "apt-daily.timer", "apt-daily-upgrade.timer", "ssh.service",
}

// unitFiles returns the content of the machine's own units by path.
func unitFiles(fullBoot bool) map[string]string {
	if fullBoot {
		return nil
	}
	const bare = "[Unit]\nDefaultDependencies=no\n"
	files := map[string]string{
		// A service with default dependencies needs the targets sysinit, basic and shutdown.
		"sysinit.target":  bare + "Wants=systemd-journald.service systemd-journald-dev-log.socket\nAfter=systemd-journald.service\n",
		"basic.target":    bare + "Requires=sysinit.target\nWants=sockets.target\nAfter=sysinit.target sockets.target\n",
		"sockets.target":  bare,
		"timers.target":   bare,
		"paths.target":    bare,
		"shutdown.target": bare + "RefuseManualStart=yes\n",
		"umount.target":   bare,
		// Units of packages may be ordered after these or be wanted by them.
		"network.target":         bare,
		"network-online.target":  bare,
		"nss-user-lookup.target": bare,
		"multi-user.target":      bare + "Requires=basic.target\nAfter=basic.target\n",
		defaultTarget:            bare + "Requires=basic.target dbus.socket\nWants=dbus.service\nAfter=basic.target dbus.service\nAllowIsolate=yes\n",
	}
	byPath := make(map[string]string, len(files))
	for name, content := range files {
		byPath[filepath.Join(unitDir, name)] = content
	}
	return byPath
}

// linkUnits adds distroUnits, or masks maskedUnits in a full boot.
func linkUnits(fullBoot bool) error {
	if fullBoot {
		return maskUnits()
	}
	for _, name := range distroUnits {
		if path := firstExisting(unitPaths(name)); path != "" {
			if err := os.Symlink(path, filepath.Join(unitDir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func maskUnits() error {
	if err := os.WriteFile("/etc/fstab", nil, 0o644); err != nil {
		return err
	}
	for _, name := range maskedUnits {
		link := filepath.Join("/etc/systemd/system", name)
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink("/dev/null", link); err != nil {
			return err
		}
	}
	return nil
}
