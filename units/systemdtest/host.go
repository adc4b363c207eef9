package systemdtest

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// systemdPaths are the paths of systemd's binary: with merged and split /usr.
var systemdPaths = []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd"}

// needed are the files without which no machine boots, and the Debian package of each.
var needed = []struct {
	what    string
	paths   []string
	debianP string
}{
	{"systemd", systemdPaths, "systemd"},
	{"systemd-journald", []string{"/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald"}, "systemd"},
	{"systemctl", []string{"/usr/bin/systemctl", "/bin/systemctl"}, "systemd"},
	{"systemd-sysusers", []string{"/usr/bin/systemd-sysusers", "/bin/systemd-sysusers"}, "systemd"},
	{"dbus.service", unitPaths("dbus.service"), "dbus"},
	{"dbus-daemon", []string{"/usr/bin/dbus-daemon", "/usr/bin/dbus-broker-launch"}, "dbus"},
}

func unitPaths(unit string) []string {
	return []string{"/usr/lib/systemd/system/" + unit, "/lib/systemd/system/" + unit}
}

// checkHost reports what the host lacks, and what to do, before anything fails in an obscure way.
func checkHost() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("booting a machine needs root, because it mounts file systems and makes namespaces and a cgroup; "+
			"run the tests as root, for example with go test -exec sudo (now uid %d)", os.Geteuid())
	}
	var missing []string
	packages := map[string]bool{}
	var names []string
	for _, n := range needed {
		if firstExisting(n.paths) == "" {
			missing = append(missing, n.what)
			if !packages[n.debianP] {
				packages[n.debianP] = true
				names = append(names, n.debianP)
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("booting a machine needs %s: install the packages (Debian: apt-get install %s)",
			strings.Join(missing, ", "), strings.Join(names, " "))
	}
	if cgroupMount() == "" {
		_, err := cgroupParent()
		return errors.Join(errors.New("booting a machine needs cgroup v2"), err)
	}
	return nil
}

func firstExisting(paths []string) string {
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}
