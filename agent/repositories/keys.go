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
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// An ImageKey is the key of one image. The zero value is for an image that is not encrypted.
type ImageKey struct{ ID, File string }

// ReadKey reads a key from a file. Its errors never contain any part of the key.
func ReadKey(path string) (qemu.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return qemu.Secret{}, err
	}
	defer f.Close()                                                      //nolint:errcheck // only read
	content, err := io.ReadAll(io.LimitReader(f, qemu.MaxSecretBytes+2)) // one byte too many, and a newline
	if err != nil {
		return qemu.Secret{}, err
	}
	return qemu.NewSecret(content)
}

// NewKey returns the id of the key for new images of a repository; "" if they are not encrypted.
func (s *Set) NewKey(repo *storage.Repository) string {
	r, _ := s.Config.Repository(repo.ID)
	return r.EncryptionKey
}

// key reads a key of a repository from its file each time, so that it is in memory only while it is used.
func (s *Set) key(repo *storage.Repository, id string) (secret qemu.Secret, file string, err error) {
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

// giveKey returns the hint how to give the daemon a key.
func giveKey(id string) string {
	return fmt.Sprintf("put the key into %s/%s, readable only by root, then run 'systemctl daemon-reload' and "+
		"'systemctl restart sendense-agent'; 'sendense-agent doctor' checks every key", config.CredentialStore, id)
}

// WrongKey returns the error about a key that does not open an image made with a key of the same name.
func WrongKey(repo *storage.Repository, id, image string) error {
	return fault.New(fault.KeyUnavailable, "repository %s: encryption key %q does not open %s: the image was made with another key, or its header is damaged",
		repo.ID, id, filepath.Join(filepath.Base(filepath.Dir(image)), filepath.Base(image))).
		WithHint(fmt.Sprintf("restore the key that was in %s/%s when the backup was made, and restart the daemon. "+
			"A new key needs a new name; the old one stays in old_keys", config.CredentialStore, id))
}

// IsKeyError reports whether an error is about a key, and not about the image that it opens.
func IsKeyError(err error) bool {
	var e *fault.Error
	return errors.As(err, &e) && e.Has(fault.KeyUnavailable)
}

// ForPoint adds to a key error which restore point needs the key.
func ForPoint(err error, backupID string) error {
	e := *fault.From(err)
	e.Message = fmt.Sprintf("restore point %s cannot be opened: %s", backupID, e.Message)
	e.Hint += "; a full backup does not need the keys of older ones"
	return &e
}

// ImagesFor returns the tools for images that are encrypted with a key; for images that are not encrypted if the id is empty. It fails
// with reason KeyUnavailable if the key cannot be used.
func (s *Set) ImagesFor(repo *storage.Repository, id string) (storage.Images, error) {
	if id == "" {
		return repo.Images(qemu.Secret{}), nil
	}
	secret, _, err := s.key(repo, id)
	return repo.Images(secret), err
}

// LogUnusableKeys logs, at the start, every configured key that cannot be used.
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

// KeyFiles returns the keys of the layers of an image, in the order of ids, for the program that serves it. It returns none if no layer
// is encrypted.
func (s *Set) KeyFiles(repo *storage.Repository, ids []string) ([]ImageKey, error) {
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

// CheckNewKey checks that the key for new images of a repository can be used.
func (s *Set) CheckNewKey(repo *storage.Repository) error {
	id := s.NewKey(repo)
	if id == "" {
		return nil
	}
	_, _, err := s.key(repo, id)
	return err
}

// CheckKeys checks that the daemon has every key that a restore point names. It opens no image.
func (s *Set) CheckKeys(repo *storage.Repository, m manifest.Manifest) error {
	for _, id := range m.Keys() {
		if _, _, err := s.key(repo, id); err != nil {
			return fmt.Errorf("%w: %s", err, fault.From(err).Hint)
		}
	}
	return nil
}

// Encryption returns what a manifest says about an image with a key; nil for an image that is not encrypted.
func Encryption(keyID string) *manifest.Encryption {
	if keyID == "" {
		return nil
	}
	return &manifest.Encryption{Format: manifest.LUKS, KeyID: keyID}
}
