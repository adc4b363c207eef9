package pair

import (
	"net/netip"
	"syscall"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// sandbox confines the command: "systemd-analyze security" rates it 0.2, and qemu-nbd reads and writes
// at full speed in it. The order of the two SystemCallFilter lines matters: an allow list, then calls
// that are removed from it.
//
// A user's service manager accepts all of it too. It has no privileges, and gets those that it needs
// from the user namespace of PrivateUsers: without that, CapabilityBoundingSet, PrivateDevices,
// ProtectKernelModules, ProtectKernelLogs, ProtectClock and TemporaryFileSystem fail there. It silently
// ignores IPAddressDeny, DevicePolicy and IPAccounting, which need BPF.
func sandbox() []systemd.Property {
	return []systemd.Property{
		property("NoNewPrivileges", true),
		property("CapabilityBoundingSet", uint64(0)),
		property("AmbientCapabilities", uint64(0)),
		property("ProtectSystem", "strict"),
		// tmpfs and not yes: so directories below /home can still be bound.
		property("ProtectHome", "tmpfs"),
		property("PrivateTmp", true),
		property("PrivateDevices", true),
		// All processes of the host share these two, also those with a /dev of their own.
		property("InaccessiblePaths", []string{"-/dev/shm", "-/dev/mqueue"}),
		property("PrivateUsers", true),
		property("PrivateIPC", true),
		// The command needs no network: its socket comes from the socket unit.
		property("PrivateNetwork", true),
		property("DevicePolicy", "closed"),
		property("ProtectKernelTunables", true),
		property("ProtectKernelModules", true),
		property("ProtectKernelLogs", true),
		property("ProtectControlGroups", true),
		property("ProtectClock", true),
		property("ProtectHostname", true),
		property("ProtectProc", "invisible"),
		property("ProcSubset", "pid"),
		property("RemoveIPC", true),
		property("IPAddressDeny", anyAddress()),
		// Without native the filter is compiled for every architecture, at 12 ms a start.
		property("SystemCallArchitectures", []string{"native"}),
		property("SystemCallFilter", callFilter{true, []string{"@system-service"}}),
		property("SystemCallFilter", callFilter{false, []string{"@privileged", "@resources"}}),
		// EPERM instead of SIGSYS: QEMU tries calls of @resources and works without them.
		property("SystemCallErrorNumber", int32(syscall.EPERM)),
		property("RestrictAddressFamilies", callFilter{true, []string{}}),
		property("RestrictNamespaces", uint64(0)),
		property("LockPersonality", true),
		property("MemoryDenyWriteExecute", true),
		property("RestrictRealtime", true),
		property("RestrictSUIDSGID", true),
		property("UMask", uint32(0o077)),
		property("KeyringMode", "private"),
	}
}

// callFilter is the D-Bus type (bas): whether the list allows, and the list.
type callFilter struct {
	Allow bool
	List  []string
}

// addressPrefix is the D-Bus type (iayu): family, address, prefix length.
type addressPrefix struct {
	Family  int32
	Address []byte
	Length  uint32
}

func anyAddress() []addressPrefix {
	return []addressPrefix{
		{syscall.AF_INET, make([]byte, 4), 0},
		{syscall.AF_INET6, make([]byte, 16), 0},
	}
}

func localAddresses() []addressPrefix {
	loop6 := netip.IPv6Loopback().As16()
	return []addressPrefix{
		{syscall.AF_INET, []byte{127, 0, 0, 0}, 8},
		{syscall.AF_INET6, loop6[:], 128},
	}
}

// bindMount is the D-Bus type (ssbt): source, destination, whether a missing source is ignored,
// mount flags.
type bindMount struct {
	Source, Target string
	IgnoreMissing  bool
	Flags          uint64
}

const msRec = 0x4000 // MS_REC: with the mounts below

func bindMounts(dirs []string) []bindMount {
	mounts := make([]bindMount, 0, len(dirs))
	for _, dir := range dirs {
		mounts = append(mounts, bindMount{dir, dir, false, msRec})
	}
	return mounts
}

// emptyDir is the D-Bus type (ss): path and mount options of a TemporaryFileSystem.
type emptyDir struct{ Path, Options string }

func property(name string, value any) systemd.Property {
	return systemd.Property{Name: name, Value: dbus.MakeVariant(value)}
}
