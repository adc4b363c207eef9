package pair

import (
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
)

// A Command is a program that runs once, in a unit of its own that has no socket.
type Command struct {
	Name        string // of the unit, without its suffix
	Description string // of the unit, for a person
	Argv        []string
	User        string // account that runs it; "" = one that exists only meanwhile, or that of the service manager
	Input       []byte // what it reads from standard input
	Limit       time.Duration
	Hide        []string // paths that it must not see
	// Credentials become files in $CREDENTIALS_DIRECTORY of the command. One that does not exist keeps it from starting.
	Credentials []Credential
}

// The room of a Command.
const (
	commandMemory = 256 << 20 // bytes
	commandTasks  = 64
	commandStop   = 5 * time.Second // from SIGTERM to SIGKILL
)

// Properties are those of the unit. Its start is not complete before the command has ended. It may use the network, read what every user
// can read, and write nothing that stays.
func (c Command) Properties(user bool) []systemd.Property {
	list := []systemd.Property{
		property("Description", c.Description),
		property("ExecStart", []execStart{{c.Argv[0], escapeVariables(c.Argv), false}}),
		property("Type", "oneshot"),
		property("CollectMode", "inactive-or-failed"),
		property("TimeoutStartUSec", uint64(c.Limit.Microseconds())),
		property("TimeoutStopUSec", uint64(commandStop.Microseconds())),
		property("StandardInput", "data"),
		property("StandardInputData", c.Input),
		property("MemoryMax", uint64(commandMemory)),
		property("TasksMax", uint64(commandTasks)),
		property("WorkingDirectory", "/"),
	}
	if len(c.Credentials) > 0 {
		list = append(list, property("LoadCredential", c.Credentials))
	}
	list = append(list, c.account(user)...)
	return append(list, c.confinement()...)
}

func (c Command) account(user bool) []systemd.Property {
	switch {
	case user: // a user's service manager needs it for the rest of the sandbox
		return []systemd.Property{property("PrivateUsers", true)}
	case c.User != "":
		return []systemd.Property{property("User", c.User)}
	}
	return []systemd.Property{property("DynamicUser", true)}
}

// confinement is the sandbox of an exporter, but with a network and a compiler at run time, which interpreters need.
func (c Command) confinement() []systemd.Property {
	hidden := []string{"-/dev/shm", "-/dev/mqueue", "-/etc/credstore", "-/etc/credstore.encrypted"}
	for _, path := range c.Hide {
		hidden = append(hidden, "-"+path)
	}
	return []systemd.Property{
		property("NoNewPrivileges", true),
		property("CapabilityBoundingSet", uint64(0)),
		property("AmbientCapabilities", uint64(0)),
		property("ProtectSystem", "strict"),
		property("ProtectHome", "tmpfs"),
		property("PrivateTmp", true),
		property("PrivateDevices", true),
		property("InaccessiblePaths", hidden),
		property("DevicePolicy", "closed"),
		property("ProtectKernelTunables", true),
		property("ProtectKernelModules", true),
		property("ProtectKernelLogs", true),
		property("ProtectControlGroups", true),
		property("ProtectClock", true),
		property("ProtectHostname", true),
		property("ProtectProc", "invisible"),
		property("RemoveIPC", true),
		property("SystemCallArchitectures", []string{"native"}),
		property("SystemCallFilter", callFilter{true, []string{"@system-service"}}),
		property("SystemCallErrorNumber", int32(syscall.EPERM)),
		property("RestrictNamespaces", uint64(0)),
		property("LockPersonality", true),
		property("RestrictRealtime", true),
		property("RestrictSUIDSGID", true),
		property("UMask", uint32(0o077)),
		property("KeyringMode", "private"),
	}
}
