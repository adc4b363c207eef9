package repositories

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// An ImageKey is the key of one image; the zero value is for one that is plain.
type ImageKey struct{ ID, File string }

// ReadKey reads a key from a file. No error holds any of it.
func ReadKey(path string) (qemu.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return qemu.Secret{}, err
	}
	defer f.Close()                                                      //nolint:errcheck // only read
	content, err := io.ReadAll(io.LimitReader(f, qemu.MaxSecretBytes+2)) // one too many, and a newline
	if err != nil {
		return qemu.Secret{}, err
	}
	return qemu.NewSecret(content)
}

// NewKey is the id of the key that new images of a repository are encrypted with; "" if they are plain.
func (s *Set) NewKey(repo *repository.Repository) string {
	r, _ := s.Config.Repository(repo.ID)
	return r.EncryptionKey
}

// key reads a key of a repository, each time anew: it is in memory no longer than it is used.
func (s *Set) key(repo *repository.Repository, id string) (secret qemu.Secret, file string, err error) {
	file, err = s.Config.KeyFile(repo.ID, id)
	if err == nil {
		secret, err = ReadKey(file)
	}
	if err == nil {
		return secret, file, nil
	}
	e := fault.New(fault.KeyUnavailable, "repository %s: encryption key %q cannot be used: %w", repo.ID, id, err)
	e.Hint = giveKey(id)
	if errors.Is(err, fs.ErrNotExist) {
		e.Message = fmt.Sprintf("repository %s: encryption key %q is missing: the daemon did not get it (%s)", repo.ID, id, file)
	}
	return secret, file, e
}

// giveKey says how the daemon gets a key.
func giveKey(id string) string {
	return fmt.Sprintf("put the key into %s/%s, readable only by root, then run 'systemctl daemon-reload' and "+
		"'systemctl restart sendense-agent'; 'sendense-agent doctor' checks every key", config.CredentialStore, id)
}

// WrongKey is what is said of a key that does not open an image which was made under its name.
func WrongKey(repo *repository.Repository, id, image string) error {
	e := fault.New(fault.KeyUnavailable, "repository %s: encryption key %q does not open %s: the image was made with another key, or its header is damaged",
		repo.ID, id, filepath.Join(filepath.Base(filepath.Dir(image)), filepath.Base(image)))
	e.Hint = fmt.Sprintf("restore the key that was in %s/%s when the backup was made, and restart the daemon. "+
		"A new key needs a new name; the old one stays in old_keys", config.CredentialStore, id)
	return e
}

// IsKeyError says whether an error is about a key, and not about what it opens.
func IsKeyError(err error) bool {
	var e *fault.Error
	return errors.As(err, &e) && e.Has(fault.KeyUnavailable)
}

// ForPoint says for which restore point a key is wanted.
func ForPoint(err error, backupID string) error {
	e := *fault.From(err)
	e.Message = fmt.Sprintf("restore point %s cannot be opened: %s", backupID, e.Message)
	e.Hint += "; a full backup does not need the keys of older ones"
	return &e
}

// ToolsFor are the tools for images that are encrypted with a key; of the id "", for plain ones.
func (s *Set) ToolsFor(repo *repository.Repository, id string) (qemu.Tools, error) {
	if id == "" {
		return s.Tools, nil
	}
	secret, _, err := s.key(repo, id)
	return s.Tools.WithKey(secret), err
}

// LogUnusableKeys says at the start what will be refused later.
func (s *Set) LogUnusableKeys() {
	for _, repo := range s.All {
		r, _ := s.Config.Repository(repo.ID)
		for _, id := range r.Keys() {
			if _, _, err := s.key(repo, id); err != nil {
				s.Log.Error("an encryption key cannot be used: backups cannot be encrypted or restored", logkey.Repository, repo.ID, logkey.Error, err, logkey.Hint, fault.From(err).Hint)
			}
		}
	}
}

// KeyFiles finds the keys of a chain of images, for the program that serves it. There are none when all are plain.
func (s *Set) KeyFiles(repo *repository.Repository, ids []string) ([]ImageKey, error) {
	keys, encrypted := make([]ImageKey, len(ids)), false
	for i, id := range ids {
		if id == "" {
			continue
		}
		_, file, err := s.key(repo, id)
		if err != nil {
			return nil, err
		}
		keys[i], encrypted = ImageKey{ID: id, File: file}, true
	}
	if !encrypted {
		return nil, nil
	}
	return keys, nil
}

// CheckNewKey looks that there is a key for what is about to be written to a repository.
func (s *Set) CheckNewKey(repo *repository.Repository) error {
	id := s.NewKey(repo)
	if id == "" {
		return nil
	}
	_, _, err := s.key(repo, id)
	return err
}

// Encryption is what a manifest says of an image with a key; nil for one that is plain.
func Encryption(keyID string) *manifest.Encryption {
	if keyID == "" {
		return nil
	}
	return &manifest.Encryption{Format: manifest.LUKS, KeyID: keyID}
}
