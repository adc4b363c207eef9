package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd/qemu"
)

const restart = "systemctl daemon-reload; systemctl restart sendense-agent"

// keyed says whether the backups of a repository are encrypted, and checks each of its keys: the daemon has it, nobody else can
// read it, and it opens the newest image that was made with it. It shows no key.
func (h *host) keyed(ctx context.Context, r config.Repository, points []repository.Found) []Finding {
	about := one("encryption", r.ID)
	newest := newestOfKeys(points)
	found := about.ok("new backups are not encrypted")
	if r.EncryptionKey != "" {
		found = about.ok("new backups are encrypted with key " + r.EncryptionKey)
	}
	for _, id := range r.Keys() {
		k := keyCheck{host: h, about: about, id: id, image: newest[id]}
		found = append(found, with(k.look(ctx), "key", id)...)
		delete(newest, id)
	}
	for _, id := range slices.Sorted(maps.Keys(newest)) {
		found = append(found, with(about.error(fmt.Sprintf("restore points such as %s need key %s, which is not configured", newest[id], id),
			fmt.Sprintf("add %q to old_keys of the repository, and put the key into %s/%s", id, config.CredentialStore, id)), "key", id)...)
	}
	return found
}

// newestOfKeys returns, for each key of restore points, the newest image that was made with it.
func newestOfKeys(points []repository.Found) map[string]string {
	points = slices.SortedFunc(slices.Values(points), func(a, b repository.Found) int {
		return cmp.Or(cmp.Compare(a.Manifest.Sequence, b.Manifest.Sequence), a.Manifest.CreatedAt.Compare(b.Manifest.CreatedAt))
	})
	images := map[string]string{}
	for _, p := range points {
		for _, d := range p.Manifest.Disks {
			if id := d.KeyID(); id != "" {
				images[id] = filepath.Join(p.Path, d.File)
			}
		}
	}
	return images
}

// keySource finds a key: the copy that the daemon has, or the file that its next start reads.
func keySource(id string) (path string, stale bool, err error) {
	loaded, source := filepath.Join(credentialDir(), id), filepath.Join(config.CredentialStore, id)
	has, err := os.ReadFile(loaded)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return loaded, false, err
	}
	if err != nil {
		_, err = os.Stat(source)
		return source, false, err
	}
	next, err := os.ReadFile(source)
	return loaded, err == nil && string(next) != string(has), nil
}

// A keyCheck examines one key of a repository.
type keyCheck struct {
	host  *host
	about subject
	id    string
	image string // the newest one that was made with the key; empty if there is none
}

func (k keyCheck) look(ctx context.Context) []Finding {
	const otherwise = "without this key its restore points are lost: look for a copy; "
	about, id, store := k.about, k.id, config.CredentialStore+"/"+k.id
	path, stale, err := keySource(id)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return about.skip("key "+id+": this user may not read it", "run as root")
	case errors.Is(err, fs.ErrNotExist) && encryptedSource(id) && !isDir(credentialDir()):
		return about.skip("key "+id+" is an encrypted credential, which is decrypted when the daemon starts", "start the daemon")
	case err != nil:
		return about.error("key "+id+" is missing: "+err.Error(), otherwise+"put it into "+store+", then "+restart)
	case stale:
		return about.error(fmt.Sprintf("key %s: %s is not the key that the daemon has and that its restore points need", id, store),
			"put the old key back; a new key needs a new name")
	case path == store && isDir(credentialDir()):
		return about.error("key "+id+" is in "+store+", but the daemon has not loaded it", restart)
	}
	if bad := openToOthers(about, store); bad != nil {
		return bad
	}
	secret, err := repositories.ReadKey(path)
	if err != nil {
		return about.error(fmt.Sprintf("key %s: %s %v", id, path, err), "a key is one line of 32 to 512 printable characters with no newline at its end: see docs/operations.md")
	}
	return k.opens(ctx, secret)
}

// opens tries the key with its image.
func (k keyCheck) opens(ctx context.Context, secret qemu.Secret) []Finding {
	about, id, image := k.about, k.id, k.image
	if image == "" {
		return about.ok("key " + id + " can be read; there is no restore point to try it with")
	}
	err := k.host.tools(secret).Unlock(ctx, image)
	switch {
	case errors.Is(err, qemu.ErrWrongKey):
		return about.error(fmt.Sprintf("key %s does not open %s: the image was made with another key", id, image),
			"put the old key back; a new key needs a new name")
	case err != nil:
		return about.warn(fmt.Sprintf("key %s could not be tried: %v", id, err), "see the findings of the catalog")
	}
	return about.ok("key " + id + " opens " + image)
}

// openToOthers returns a finding if others than root can read a key.
func openToOthers(about subject, path string) []Finding {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&0o077 == 0 {
		return nil // the key may be stored elsewhere
	}
	return about.error(fmt.Sprintf("%s: mode %04o: others can read the key", path, info.Mode().Perm()), "chmod 0600 "+path)
}

// encryptedSource says whether there is an encrypted credential of a key (systemd-creds(1)).
func encryptedSource(id string) bool {
	_, err := os.Stat(filepath.Join(config.EncryptedStore, id))
	return err == nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
