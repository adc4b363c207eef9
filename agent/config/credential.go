package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// maxCredentialBytes bounds what is read as a password.
const maxCredentialBytes = 64 << 10

var credentialName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._@-]{0,254}$`)

// safeCredential reports whether the name is valid for a systemd credential and for its file.
func safeCredential(name string) bool { return credentialName.MatchString(name) }

// VCenterPassword reads the password of a vCenter from its systemd credential, at each call, so that a change needs
// no reload. One newline at the end is not part of it. No error contains any of the content.
func (c *Config) VCenterPassword(name string) (string, error) {
	v, ok := c.VCenters[name]
	if !ok {
		return "", fmt.Errorf("vcenter %q: is not configured: add a [vcenter.%s] table", name, name)
	}
	credential := v.PasswordCredential
	if !safeCredential(credential) {
		return "", fmt.Errorf("vcenter %q: password_credential %q: is not the name of a credential", name, credential)
	}
	directory := os.Getenv("CREDENTIALS_DIRECTORY")
	if directory == "" {
		return "", &CredentialError{name, credential, errors.New("systemd gave the daemon no credentials"), giveCredential(credential)}
	}
	password, err := readCredential(filepath.Join(directory, credential))
	if err != nil {
		return "", &CredentialError{name, credential, err, giveCredential(credential)}
	}
	return password, nil
}

// A CredentialError says that the password of a vCenter is missing, empty or unreadable.
type CredentialError struct {
	VCenter, Credential string
	Err                 error
	Hint                string // how to pass it to the daemon
}

func (e *CredentialError) Error() string {
	return fmt.Sprintf("vcenter %q: its password is not available: credential %q: %v", e.VCenter, e.Credential, e.Err)
}

// Unwrap returns the cause.
func (e *CredentialError) Unwrap() error { return e.Err }

// giveCredential says how to pass a credential to the daemon.
func giveCredential(name string) string {
	return fmt.Sprintf("put it into /etc/credstore/%s, readable by root only, and restart the daemon; "+
		"a unit that is not from the package needs LoadCredential=%s:/path/to/file", name, name)
}

func readCredential(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCredentialBytes+1))
	if err != nil {
		return "", err
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case len(data) > maxCredentialBytes:
		return "", fmt.Errorf("%s is longer than %d bytes", path, maxCredentialBytes)
	case password == "":
		return "", fmt.Errorf("%s is empty", path)
	}
	return password, nil
}
