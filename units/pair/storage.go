package pair

import (
	systemd "github.com/coreos/go-systemd/v22/dbus"
)

// Storage is set for a command that makes and changes the files of one directory for other users. It reports with sd_notify(3) that it
// serves, and nothing of it stays loaded when it ends.
type Storage struct {
	// Dir is the directory. It may be missing, or become a mount point while the command runs.
	Dir string
	// Hidden are files and directories that the command does not see; they may be missing.
	Hidden []string
}

// Capabilities that the command needs, by their numbers in linux/capability.h. CHOWN, DAC_OVERRIDE, FOWNER: restore points change from the
// exporters' user to root. KILL, SETUID, SETGID: qemu-img runs as that user.
const storageCapabilities = 1<<0 | 1<<1 | 1<<3 | 1<<5 | 1<<6 | 1<<7

// sandbox confines the command: it is root with a few capabilities, writes below one directory only, and has no network. ofUser: a user's
// service manager has no capabilities to give.
func (s *Storage) sandbox(ofUser bool) []systemd.Property {
	var props []systemd.Property
	for _, p := range sandbox() {
		switch p.Name {
		case "ProtectHome", "PrivateTmp": // a repository may lie there
			continue
		case "ProcSubset": // the mode of QEMU's I/O depends on a setting below /proc/sys
			continue
		case "PrivateUsers", "CapabilityBoundingSet":
			if !ofUser {
				continue
			}
		case "RestrictAddressFamilies": // AF_UNIX: sd_notify
			p = property(p.Name, callFilter{true, []string{"AF_UNIX"}})
		case "InaccessiblePaths":
			hidden := p.Value.Value().([]string)
			for _, path := range s.Hidden {
				hidden = append(hidden, "-"+path)
			}
			p = property(p.Name, hidden)
		}
		props = append(props, p)
	}
	props = append(props,
		property("ReadWritePaths", []string{"-" + s.Dir}),
		property("SystemCallFilter", callFilter{true, []string{
			"@chown", "@setuid", "setfsuid", "setfsgid",
			// It confines qemu-img with these calls. The groups of systemd 252 do not contain them.
			"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp",
		}}),
		property("NotifyAccess", "main"),
		property("LimitNOFILE", uint64(65536)),
		property("OOMScoreAdjust", int32(-500)),
		// SIGTERM goes to the main process, which ends its qemu-img itself.
		property("KillMode", "mixed"),
	)
	if !ofUser {
		props = append(props, property("CapabilityBoundingSet", uint64(storageCapabilities)))
	}
	return props
}
