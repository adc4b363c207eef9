package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/store"
)

// Apply does what the plan says, and returns the paths of the copies of what it replaced. The daemon must not run. If it is interrupted, the
// same import can be repeated: the configuration, which brings everything into use, comes last.
func (p *Plan) Apply(version string) (copies []string, err error) {
	db, err := p.openDatabase()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	stamp := time.Now().UTC().Format("20060102T150405Z")
	if copies, err = p.keep(db, version, stamp); err != nil {
		return nil, fmt.Errorf("nothing is changed: %w", err)
	}
	for _, s := range p.Steps {
		if s.isSecret() && s.changes() {
			if err := writeSecret(p.places.path(Credential{Name: s.Name, Kind: s.Kind}), p.secrets[s.Name]); err != nil {
				return copies, err
			}
		}
	}
	for _, vm := range p.vms {
		r := recordOf(vm)
		r.AddedAt = time.Now().UTC()
		if _, err := db.PutVM(r); err != nil {
			return copies, err
		}
	}
	if p.Steps[0].changes() {
		return copies, writeConfiguration(p.places.Config, p.file.Configuration.Text)
	}
	return copies, nil
}

func (s Step) changes() bool { return s.Action == Create || s.Action == Replace }

func (s Step) isSecret() bool { return s.Kind != kindConfiguration && s.Kind != kindVM }

// openDatabase opens the database, or makes one. A new one is marked as rebuilt: the daemon then looks for exporters of a lost one.
func (p *Plan) openDatabase() (*store.Store, error) {
	path := databasePath(p.config)
	_, err := os.Lstat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	cooldown := p.config.SNA.Cooldown.Std()
	db, err := store.Open(path, store.Options{Cooldown: cooldown})
	var locked *store.LockedError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("nothing is changed: the daemon runs: %w: run 'systemctl stop \"sendense-agent*.socket\" sendense-agent' first", err)
	}
	if err == nil && fresh {
		if err = db.MarkRebuilt(time.Now().Add(cooldown)); err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return db, err
}

// keep saves what is replaced: configuration and VMs as settings of their own, and each credential beside the new one.
func (p *Plan) keep(db *store.Store, version, stamp string) (copies []string, err error) {
	settings := false
	for _, s := range p.Steps {
		switch {
		case s.Action != Replace:
		case !s.isSecret():
			settings = true
		default:
			path := p.places.path(Credential{Name: s.Name, Kind: s.Kind})
			content, err := plainFile(path)
			if err != nil {
				return nil, err
			}
			if err := writeSecret(path+".before-import-"+stamp, content); err != nil {
				return nil, err
			}
			copies = append(copies, path+".before-import-"+stamp)
		}
	}
	if !settings {
		return copies, nil
	}
	path := filepath.Join(filepath.Dir(databasePath(p.config)), "settings-before-import-"+stamp+".json")
	text, err := p.present(db, version)
	if err == nil {
		err = writeSecret(path, text)
	}
	return append(copies, path), err
}

// present is a settings file of what this hub has, whether its configuration is valid or not.
func (p *Plan) present(db *store.Store, version string) ([]byte, error) {
	text, err := os.ReadFile(p.places.Config)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	vms, err := storedVMs(db)
	if err != nil {
		return nil, err
	}
	f := File{
		Format: Format, Version: Version, ExportedAt: time.Now().UTC().Truncate(time.Second), AgentVersion: version,
		Configuration: Configuration{Path: p.places.Config, Text: string(text)}, VMs: vms, Credentials: []Credential{},
	}
	return f.Encode()
}

// writeSecret writes a file that only the user of this process can read, in one step.
func writeSecret(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(path, content, 0o600, renameio.WithStaticPermissions(0o600))
}

// writeConfiguration replaces the configuration in one step. It keeps the owner and the mode of the one before.
func writeConfiguration(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var before unix.Stat_t
	if err := unix.Lstat(path, &before); err != nil {
		return renameio.WriteFile(path, []byte(text), 0o644, renameio.WithStaticPermissions(0o644))
	}
	f, err := renameio.NewPendingFile(path, renameio.WithStaticPermissions(os.FileMode(before.Mode).Perm()))
	if err != nil {
		return err
	}
	defer f.Cleanup() //nolint:errcheck // it was replaced, or there is another error
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := f.Chown(int(before.Uid), int(before.Gid)); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
