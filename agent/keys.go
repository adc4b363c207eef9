package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd/qemu"
)

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

// newKey is the id of the key that new images of a repository are encrypted with; "" if they are plain.
func (a *Agent) newKey(repo *repository.Repository) string {
	r, _ := a.config.Repository(repo.ID)
	return r.EncryptionKey
}

// key reads a key of a repository, each time anew: it is in memory no longer than it is used.
func (a *Agent) key(repo *repository.Repository, id string) (secret qemu.Secret, file string, err error) {
	file, err = a.config.KeyFile(repo.ID, id)
	if err == nil {
		secret, err = ReadKey(file)
	}
	if err == nil {
		return secret, file, nil
	}
	e := errorf(KeyUnavailable, "repository %s: encryption key %q cannot be used: %w", repo.ID, id, err)
	e.Hint = giveKey(id)
	if errors.Is(err, fs.ErrNotExist) {
		e.Message = fmt.Sprintf("repository %s: encryption key %q is missing: the daemon was not given it (%s)", repo.ID, id, file)
	}
	return secret, file, e
}

// giveKey says how the daemon gets a key.
func giveKey(id string) string {
	return fmt.Sprintf("put the key into %s/%s, which only root may read, then run 'systemctl daemon-reload' and "+
		"'systemctl restart sendense-agent'; 'sendense-agent doctor' looks at every key", config.CredentialStore, id)
}

// wrongKey is what is said of a key that does not open an image which was made under its name.
func wrongKey(repo *repository.Repository, id, image string) error {
	e := errorf(KeyUnavailable, "repository %s: encryption key %q does not open %s: it is not the key that the image was made with, or the image is damaged at its beginning",
		repo.ID, id, filepath.Join(filepath.Base(filepath.Dir(image)), filepath.Base(image)))
	e.Hint = fmt.Sprintf("put the key that was in %s/%s when the backup was made back, and restart the daemon; "+
		"a new key needs a new name, and the old one stays in old_keys", config.CredentialStore, id)
	return e
}

// isKeyError says whether an error is about a key, and not about what it opens.
func isKeyError(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.has(KeyUnavailable)
}

// ofPoint says for which restore point a key is wanted.
func ofPoint(err error, backupID string) error {
	e := *AsError(err)
	e.Message = fmt.Sprintf("restore point %s cannot be opened: %s", backupID, e.Message)
	e.Hint += "; a full backup does not need the keys of older ones"
	return &e
}

// keyedTools are the tools for images that are encrypted with a key; of the id "", for plain ones.
func (a *Agent) keyedTools(repo *repository.Repository, id string) (qemu.Tools, error) {
	if id == "" {
		return a.tools, nil
	}
	secret, _, err := a.key(repo, id)
	return a.tools.WithKey(secret), err
}

// lookAtKeys says at the start what will be refused later.
func (a *Agent) lookAtKeys() {
	for _, repo := range a.repositories {
		r, _ := a.config.Repository(repo.ID)
		for _, id := range r.Keys() {
			if _, _, err := a.key(repo, id); err != nil {
				a.log.Error("backups cannot be encrypted or restored", logRepository, repo.ID, logError, err, logHint, AsError(err).Hint)
			}
		}
	}
}

// keyFiles finds the keys of a chain of images, for the program that serves it. There are none when all are plain.
func (a *Agent) keyFiles(repo *repository.Repository, ids []string) ([]ImageKey, error) {
	keys, encrypted := make([]ImageKey, len(ids)), false
	for i, id := range ids {
		if id == "" {
			continue
		}
		_, file, err := a.key(repo, id)
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

// linkKeys are the ids of the keys of the images that a disk of a backup consists of, the newest first. That they are what the
// records say was proved when the parent was chosen.
func linkKeys(d record.DiskRun, ancestors []record.Backup) []string {
	ids := []string{d.KeyID}
	for _, p := range ancestors {
		if d.Backing == "" {
			break
		}
		for _, below := range p.Runs {
			if filepath.Base(below.Image) == filepath.Base(d.Backing) {
				d = below
				break
			}
		}
		ids = append(ids, d.KeyID)
	}
	return ids
}

// checkNewKey looks that there is a key for what is about to be written to a repository.
func (a *Agent) checkNewKey(repo *repository.Repository) error {
	id := a.newKey(repo)
	if id == "" {
		return nil
	}
	_, _, err := a.key(repo, id)
	return err
}

// proveKey proves, before a full backup, that the key of new images opens what was made under its name: two keys of one name
// could not be told apart later. An incremental proves it by what it stands on.
func (a *Agent) proveKey(ctx context.Context, vm record.VM, repo *repository.Repository) error {
	id := a.newKey(repo)
	newest, found, err := a.store.LatestCompleted(vm.Name, repo.ID)
	if id == "" || err != nil || !found || newest.Runs[0].KeyID != id {
		return AsError(err).orNil()
	}
	tools, err := a.keyedTools(repo, id)
	if err != nil {
		return err
	}
	image := filepath.Join(dirOf(repo, newest), filepath.Base(newest.Runs[0].Image))
	if err := tools.Unlock(ctx, image); errors.Is(err, qemu.ErrWrongKey) {
		return wrongKey(repo, id, image)
	}
	return nil // what else is wrong with an old restore point keeps nobody from a full backup
}
