package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// Where systemd looks for the credentials that the daemon's unit names: as they are, or encrypted (systemd-creds(1)).
const (
	CredentialStore = "/etc/credstore"
	EncryptedStore  = "/etc/credstore.encrypted"
)

// keyID is stricter than the name of a credential: QEMU must accept it too.
var keyID = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,63}$`)

// Keys are the ids of all keys of a repository, that of new images first.
func (r Repository) Keys() []string {
	if r.EncryptionKey == "" {
		return r.OldKeys
	}
	return append([]string{r.EncryptionKey}, r.OldKeys...)
}

// Repository finds a repository by its id.
func (c *Config) Repository(id string) (Repository, bool) {
	for _, r := range c.Repositories {
		if r.ID == id {
			return r, true
		}
	}
	return Repository{}, false
}

// KeyFile is the path at which the daemon finds a key of a repository: the copy that systemd made when the daemon started. The
// file need not exist.
func (c *Config) KeyFile(repository, id string) (string, error) {
	r, _ := c.Repository(repository)
	if !slices.Contains(r.Keys(), id) {
		return "", fmt.Errorf("not one of the repository's keys: add %q to old_keys of [[repository]] %q", id, repository)
	}
	return credentialFile(id)
}

// CredentialFiles are the paths at which the daemon finds the credentials of a hook, by their names. The files need not exist.
func (h Hook) CredentialFiles() (map[string]string, error) {
	files := make(map[string]string, len(h.Credentials))
	for _, name := range h.Credentials {
		file, err := credentialFile(name)
		if err != nil {
			return nil, err
		}
		files[name] = file
	}
	return files, nil
}

func credentialFile(name string) (string, error) {
	directory := os.Getenv("CREDENTIALS_DIRECTORY")
	if directory == "" {
		return "", fmt.Errorf("$CREDENTIALS_DIRECTORY is not set: the daemon got no credentials: start it as a systemd unit with LoadCredential=%s", name)
	}
	return filepath.Join(directory, name), nil
}

func (r Repository) validateKeys(p *problems, key string, c *Config) {
	for i, id := range r.Keys() {
		field := key + ": old_keys"
		if id == r.EncryptionKey && i == 0 {
			field = key + ": encryption_key"
		}
		p.check(keyID.MatchString(id), field, "%q: want 1 to 64 letters, digits, dots, underscores or dashes, and a letter first", id)
		p.check(!slices.Contains(r.Keys()[:i], id), field, "%q is listed twice: list each key once", id)
		for name, v := range c.VCenters {
			p.check(v.PasswordCredential != id, field, "%q is the password_credential of vcenter.%s: choose another name", id, name)
		}
	}
	p.check(len(r.Keys()) == 0 || c.Agent.Bus != BusUser, key+": encryption_key",
		`needs agent.bus = "system": the systemd of a user session cannot pass keys to exporters`)
}
