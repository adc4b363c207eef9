package pair

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Defaults of a Spec's timeouts. The stop timeout is long because a process that is killed while it
// writes to a slow store loses data: it is for a host that shuts down.
const (
	DefaultStartTimeout = 30 * time.Second
	DefaultStopTimeout  = 15 * time.Minute
)

// Spec describes a pair. Nothing in it is expanded: no specifiers (%), no variables, no shell.
type Spec struct {
	// Name is the name of both units without suffix: letters, digits and : - _ . only, at most
	// MaxNameLen bytes. It is not escaped; another character is an error.
	Name string
	// Description is shown by systemctl; if empty, Name.
	Description string
	// Argv is the command; Argv[0] is an absolute path. It must use its listening socket as file
	// descriptor 3 (sd_listen_fds(3)), fork, and let the parent exit with status 0 when it serves.
	// A Guest and a Storage do not fork; they report with sd_notify(3) that they serve.
	Argv []string
	// Environment has additional NAME=value settings. All users can read them over D-Bus.
	Environment []string
	// ListenAddress is a numeric IP address and a port, such as "127.0.0.1:10100", or the absolute
	// path of a Unix socket. Root and the group ListenGroup can connect to a Unix socket.
	ListenAddress, ListenGroup string
	// Guest is set for a command that runs a virtual machine on untrusted data. It gets a different
	// sandbox.
	Guest *Guest
	// Storage is set for a command that makes the files of a directory. It gets a different sandbox.
	Storage *Storage
	// User and Group run the command; both are left empty for a user's service manager.
	User, Group string
	// WritableDirs are bound read-write, at the same absolute path.
	WritableDirs []string
	// ReadOnlyDirs are bound read-only, at the same absolute path.
	ReadOnlyDirs []string
	// HiddenDirs are covered by empty directories, in which the others are bound.
	HiddenDirs []string
	// Credentials are files that the service manager copies for the command when it starts, to where only the command can read them:
	// see CredentialPath. D-Bus does not show their content.
	Credentials []Credential
	// StartTimeout bounds the time until the command serves. 0: DefaultStartTimeout.
	StartTimeout time.Duration
	// StopTimeout is the time from SIGTERM to SIGKILL when the unit is stopped (by Remove, an
	// operator or a shutdown; Terminate never kills). 0: DefaultStopTimeout.
	StopTimeout time.Duration
}

// A Credential is a file of which a command gets a copy (LoadCredential= of systemd.exec(5)).
type Credential struct {
	ID     string // letters, digits and . _ - only; a letter or digit first
	Source string // absolute path; the service manager reads it, as root
}

// CredentialPath is the path of a credential for the command of a pair, under the system's service manager. (%d is not expanded in
// the properties of a transient unit.)
func CredentialPath(name, id string) string {
	return "/run/credentials/" + name + ServiceSuffix + "/" + id
}

// MaxNameLen is the limit of Spec.Name, in bytes. systemd allows 255 for a unit with its suffix, but
// PrivateTmp makes a directory systemd-private-<32 digits>-<unit>-<6 letters>, which has the same
// limit: a longer name fails with result "resources".
const MaxNameLen = 255 - len("systemd-private-") - 32 - len("-") - len(ServiceSuffix) - len("-XXXXXX")

const (
	ServiceSuffix = ".service"
	SocketSuffix  = ".socket"
)

// Check refuses a Spec that systemd would refuse later or misread. user is set for a user's service
// manager.
func (s Spec) Check(user bool) error {
	if err := CheckName(s.Name); err != nil {
		return err
	}
	if len(s.Argv) == 0 || !filepath.IsAbs(s.Argv[0]) {
		return fmt.Errorf("unit %s: command %q must begin with an absolute path", s.Name, s.Argv)
	}
	for _, text := range append(append([]string{s.Description}, s.Argv...), s.Environment...) {
		if strings.ContainsRune(text, 0) {
			return fmt.Errorf("unit %s: %q has a zero byte", s.Name, text)
		}
	}
	if err := s.checkAddress(); err != nil {
		return err
	}
	if user && (s.User != "" || s.Group != "") {
		return fmt.Errorf("unit %s: a user's service manager cannot run a command as user %q group %q; leave them empty", s.Name, s.User, s.Group)
	}
	for _, dirs := range [][]string{s.WritableDirs, s.ReadOnlyDirs, s.HiddenDirs} {
		for _, dir := range dirs {
			if err := checkDir(dir); err != nil {
				return fmt.Errorf("unit %s: %w", s.Name, err)
			}
		}
	}
	if err := s.checkCredentials(user); err != nil {
		return fmt.Errorf("unit %s: %w", s.Name, err)
	}
	if s.Storage != nil {
		if err := checkDir(s.Storage.Dir); err != nil {
			return fmt.Errorf("unit %s: %w", s.Name, err)
		}
	}
	if s.StartTimeout < 0 || s.StopTimeout < 0 {
		return fmt.Errorf("unit %s: timeouts must not be negative", s.Name)
	}
	return nil
}

var credentialID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)

func (s Spec) checkCredentials(user bool) error {
	for i, c := range s.Credentials {
		switch {
		case user:
			return fmt.Errorf("credential %q: a user's service manager provides no credentials", c.ID)
		case !credentialID.MatchString(c.ID):
			return fmt.Errorf("credential %q: want a name of letters, digits, dots, underscores and dashes", c.ID)
		case slices.ContainsFunc(s.Credentials[:i], func(other Credential) bool { return other.ID == c.ID }):
			return fmt.Errorf("credential %q: is listed twice", c.ID)
		}
		if err := checkDir(c.Source); err != nil {
			return fmt.Errorf("credential %q: %w", c.ID, err)
		}
	}
	return nil
}

// maxSocketPath is the limit of the path of a Unix socket, in bytes (unix(7), without the final zero).
const maxSocketPath = 107

func (s Spec) checkAddress() error {
	if filepath.IsAbs(s.ListenAddress) {
		if len(s.ListenAddress) > maxSocketPath || filepath.Clean(s.ListenAddress) != s.ListenAddress {
			return fmt.Errorf("unit %s: socket %q must be a clean path of at most %d bytes", s.Name, s.ListenAddress, maxSocketPath)
		}
		return nil
	}
	address, err := netip.ParseAddrPort(s.ListenAddress)
	if err != nil || address.Port() == 0 {
		return fmt.Errorf("unit %s: listen address %q must be a numeric address and a port such as 127.0.0.1:10100", s.Name, s.ListenAddress)
	}
	return nil
}

// checkDir refuses all but a clean absolute path other than the root.
func checkDir(dir string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" || strings.ContainsRune(dir, 0) {
		return fmt.Errorf("directory %q must be a clean absolute path other than /", dir)
	}
	return nil
}

func CheckName(name string) error {
	if len(name) > MaxNameLen {
		return fmt.Errorf("unit name %.40s... has %d bytes, the limit is %d; shorten it", name, len(name), MaxNameLen)
	}
	return CheckUnitName(name+ServiceSuffix, ServiceSuffix)
}

// CheckUnitName accepts the name of a unit with the given suffix, such as ".slice". It allows what
// systemd allows (unit-name.c), except "\", systemd's escape, and "@", which makes a template.
func CheckUnitName(name, suffix string) error {
	stem, ok := strings.CutSuffix(name, suffix)
	if !ok || stem == "" {
		return fmt.Errorf("unit name %q must be a name and end in %s", name, suffix)
	}
	for _, r := range stem {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.", r) {
			return fmt.Errorf("unit name %q: character %q is not allowed; use letters, digits and :-_. only", name, r)
		}
	}
	return nil
}
