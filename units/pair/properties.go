package pair

import (
	"math"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
)

// execStart is the D-Bus type (sasb): path, arguments, whether a failure is ignored.
type execStart struct {
	Path          string
	Argv          []string
	IgnoreFailure bool
}

// escapeVariables escapes arguments: systemd expands variables ($HOME) in properties that come over D-Bus, but
// no specifiers (%n); "$$" stands for "$" (systemd.service(5)). ExecStartEx has a flag for that, but
// systemd 252 writes it to the unit's file under a name that it does not read back: after a
// daemon-reload the unit has no command and is broken.
func escapeVariables(argv []string) []string {
	escaped := make([]string, len(argv))
	for i, arg := range argv {
		escaped[i] = strings.ReplaceAll(arg, "$", "$$")
	}
	return escaped
}

// Properties returns the properties of the two halves of a pair, for StartTransientUnit. user selects a user's service manager
// instead of the system's. slice contains both halves; empty: systemd's default.
func (s Spec) Properties(user bool, slice string) (service, socket []systemd.Property) {
	service, socket = s.service(user), s.socket()
	if slice != "" {
		service, socket = append(service, property("Slice", slice)), append(socket, property("Slice", slice))
	}
	return service, socket
}

// service returns the properties of the service half.
func (s Spec) service(user bool) []systemd.Property {
	socket := s.Name + SocketSuffix
	props := []systemd.Property{
		property("Description", s.description()),
		property("Requires", []string{socket}),
		property("After", []string{socket}),
		// The parent's exit means that the command serves, and so does the end of the job.
		property("Type", s.kind()),
		property("ExecStart", []execStart{{s.Argv[0], escapeVariables(s.Argv), false}}),
		// The result can be read until the pair is removed: RemainAfterExit keeps a service that
		// exited with success (active, exited), CollectMode=inactive one that failed.
		property("RemainAfterExit", s.Storage == nil),
		property("CollectMode", s.collectMode()),
		// No second start, part two: it may start once, whatever starts it. daemon-reload resets the
		// counter (systemd 252), so this alone is not enough; see socket.
		property("StartLimitBurst", uint32(1)),
		property("StartLimitIntervalUSec", uint64(math.MaxUint64)),
		property("Restart", "no"),
		property("TimeoutStartUSec", microseconds(s.StartTimeout, DefaultStartTimeout)),
		property("TimeoutStopUSec", microseconds(s.StopTimeout, DefaultStopTimeout)),
		property("StandardInput", "null"),
	}
	if len(s.Environment) > 0 {
		props = append(props, property("Environment", s.Environment))
	}
	if s.User != "" {
		props = append(props, property("User", s.User))
	}
	if s.Group != "" {
		props = append(props, property("Group", s.Group))
	}
	if len(s.Credentials) > 0 {
		props = append(props, property("LoadCredential", s.Credentials))
	}
	props = append(props, directories(s)...)
	switch {
	case s.Guest != nil:
		return append(props, s.Guest.sandbox(user)...)
	case s.Storage != nil:
		return append(props, s.Storage.sandbox(user)...)
	}
	return append(props, sandbox()...)
}

// collectMode is until when the result of a pair can be read.
func (s Spec) collectMode() string {
	if s.Storage != nil {
		return "inactive-or-failed" // nobody reads it
	}
	return "inactive"
}

// kind is the service type: how a command reports that it serves.
func (s Spec) kind() string {
	if s.Forks() {
		return "forking"
	}
	return "notify"
}

// Forks reports whether the command serves in a process that its first process leaves behind, and not in the first process itself.
func (s Spec) Forks() bool { return s.Guest == nil && s.Storage == nil }

// directories sets which directories the command sees.
func directories(s Spec) []systemd.Property {
	var props []systemd.Property
	if len(s.HiddenDirs) > 0 || s.Guest != nil {
		hidden := make([]emptyDir, 0, len(s.HiddenDirs))
		for _, dir := range s.HiddenDirs {
			hidden = append(hidden, emptyDir{dir, "ro"})
		}
		hidden = append(hidden, s.Guest.emptyDirs()...)
		props = append(props, property("TemporaryFileSystem", hidden))
	}
	if len(s.WritableDirs) > 0 {
		props = append(props, property("BindPaths", bindMounts(s.WritableDirs)))
	}
	if len(s.ReadOnlyDirs) > 0 {
		props = append(props, property("BindReadOnlyPaths", bindMounts(s.ReadOnlyDirs)))
	}
	return props
}

// socket returns the properties of the socket half.
func (s Spec) socket() []systemd.Property {
	props := []systemd.Property{
		property("Description", s.description()),
		property("Listen", []listen{{"Stream", s.ListenAddress}}),
		// No second start, part one: after a service has failed, its socket would listen again, and the
		// next client would start the service again. A bound socket is stopped in the same moment:
		// systemd queues its stop while it handles the death, before it handles the socket again.
		property("BindsTo", []string{s.Name + ServiceSuffix}),
		property("CollectMode", s.collectMode()),
		// A client opens its connections in one burst.
		property("Backlog", uint32(128)),
	}
	if filepath.IsAbs(s.ListenAddress) {
		props = append(props, property("SocketMode", uint32(0o660)), property("RemoveOnStop", true))
		if s.ListenGroup != "" {
			props = append(props, property("SocketGroup", s.ListenGroup))
		}
		return props
	}
	// A handshake exchanges small packets: with Nagle's algorithm each costs 40 ms.
	props = append(props, property("NoDelay", true), property("IPAccounting", true))
	if address, err := netip.ParseAddrPort(s.ListenAddress); err == nil && address.Addr().IsLoopback() {
		props = append(props, property("IPAddressAllow", localAddresses()), property("IPAddressDeny", anyAddress()))
	}
	return props
}

// listen is the D-Bus type (ss): kind and address.
type listen struct{ Kind, Address string }

func (s Spec) description() string {
	if s.Description == "" {
		return s.Name
	}
	return s.Description
}

func microseconds(d, def time.Duration) uint64 {
	if d == 0 {
		d = def
	}
	return uint64(d.Microseconds())
}
