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

// Defaults of a Spec's time-outs. A stop is long because a process killed while it writes back to a
// slow store has lost data: the time-out is for a host that shuts down, not for a hurry.
const (
	DefaultStartTimeout = 30 * time.Second
	DefaultStopTimeout  = 15 * time.Minute
)

// Spec describes a pair. Nothing in it is expanded: no specifiers (%), no variables, no shell.
type Spec struct {
	// Name is the name of both units without suffix: letters, digits and : - _ . only, at most
	// MaxNameLen bytes. systemd's escaping is not applied; what does not fit is an error.
	Name string
	// Description is shown by systemctl; Name when empty.
	Description string
	// Argv is the command; Argv[0] is an absolute path. It must take its listening socket as file
	// descriptor 3 (sd_listen_fds(3)), fork, and let the parent exit with status 0 when it serves;
	// a Guest does not fork, and says that it serves with sd_notify(3).
	Argv []string
	// Environment holds additional NAME=value settings. Anybody may read them over D-Bus.
	Environment []string
	// ListenAddress is a numeric IP address and a port, such as "127.0.0.1:10100", or the absolute
	// path of a Unix socket, which its owner, root, and the ListenGroup may connect to.
	ListenAddress, ListenGroup string
	// Guest is set for a command that runs a virtual machine over data that nobody vouches for. It
	// gets a sandbox of another shape.
	Guest *Guest
	// User and Group run the command; both are left empty for a user's service manager.
	User, Group string
	// WritableDirs are bound read-write, at the same absolute path.
	WritableDirs []string
	// ReadOnlyDirs are bound read-only, at the same absolute path.
	ReadOnlyDirs []string
	// HiddenDirs are covered by an empty directory, below which the others are bound.
	HiddenDirs []string
	// Credentials are files that the service manager copies for the command when it starts, where nobody else finds them: see
	// CredentialPath. What is in them is never told over D-Bus.
	Credentials []Credential
	// StartTimeout bounds the time until the command serves. 0: DefaultStartTimeout.
	StartTimeout time.Duration
	// StopTimeout is the time from SIGTERM to SIGKILL when the unit is stopped (by Remove, an
	// operator or a shutdown; Terminate never kills). 0: DefaultStopTimeout.
	StopTimeout time.Duration
}

// A Credential is a file that a command is given a copy of (LoadCredential= of systemd.exec(5)).
type Credential struct {
	ID     string // letters, digits and . _ - only; a letter or digit first
	Source string // absolute path; the service manager reads it, as root
}

// CredentialPath is where the command of a pair finds a credential, if it is the system's service manager that runs it. (In the
// properties of a transient unit %d is not expanded.)
func CredentialPath(name, id string) string {
	return "/run/credentials/" + name + ServiceSuffix + "/" + id
}

// MaxNameLen is the longest Spec.Name, in bytes. systemd allows 255 for a unit with its suffix, but
// PrivateTmp makes a directory called systemd-private-<32 digits>-<unit>-<6 letters>, and a directory
// has the same limit: a longer name fails with result "resources".
const MaxNameLen = 255 - len("systemd-private-") - 32 - len("-") - len(ServiceSuffix) - len("-XXXXXX")

const (
	ServiceSuffix = ".service"
	SocketSuffix  = ".socket"
)

// Check refuses what systemd would refuse later, or worse, understand otherwise.
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
	if s.StartTimeout < 0 || s.StopTimeout < 0 {
		return fmt.Errorf("unit %s: time-outs must not be negative", s.Name)
	}
	return nil
}

var credentialID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)

func (s Spec) checkCredentials(user bool) error {
	for i, c := range s.Credentials {
		switch {
		case user:
			return fmt.Errorf("credential %q: a user's service manager gives none", c.ID)
		case !credentialID.MatchString(c.ID):
			return fmt.Errorf("credential %q: want a name of letters, digits, dots, underscores and dashes", c.ID)
		case slices.ContainsFunc(s.Credentials[:i], func(other Credential) bool { return other.ID == c.ID }):
			return fmt.Errorf("credential %q: is there twice", c.ID)
		}
		if err := checkDir(c.Source); err != nil {
			return fmt.Errorf("credential %q: %w", c.ID, err)
		}
	}
	return nil
}

// maxSocketPath is the longest path of a Unix socket, in bytes (unix(7), less the final zero).
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

// checkDir wants a clean absolute path other than the root.
func checkDir(dir string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" || strings.ContainsRune(dir, 0) {
		return fmt.Errorf("directory %q must be a clean absolute path, and not the root", dir)
	}
	return nil
}

func CheckName(name string) error {
	if len(name) > MaxNameLen {
		return fmt.Errorf("unit name %.40s... has %d bytes, and at most %d are allowed; shorten it", name, len(name), MaxNameLen)
	}
	return CheckUnitName(name+ServiceSuffix, ServiceSuffix)
}

// CheckUnitName allows what systemd allows in a plain unit (unit-name.c), less "\" and "@": the one
// is its escape and the other makes a template.
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
