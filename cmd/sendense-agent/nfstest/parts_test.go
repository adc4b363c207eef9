package nfstest_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
)

// hard waits for a server that is away, soft gives up after some seconds.
const (
	hard = "hard"
	soft = "soft,timeo=10,retrans=2"
)

// parts are done one after the other, with each version. Each has a repository of its own, in a directory of the export.
var parts = []struct {
	name string
	run  func(g *guest, dir string) error
}{
	{"a merge", merged},
	{"a merge whose old image somebody has open", mergedWhileOpen},
	{"the server goes in the midst of a merge, and comes back; hard", serverRestarted},
	{"the server does not answer; soft", serverSilent},
	{"files vanish behind the mount", filesVanish},
	{"root is squashed", rootSquashed},
}

// exporter is the exporters' user, which is not the agent's.
var exporter = &repository.Owner{UID: 65534, GID: 65534}

// with calls f with a repository in a directory of an export.
func (g *guest) with(export, dir, options string, f func(r *repository.Repository) error) (err error) {
	at := "/mnt/" + dir
	unmount, err := g.mount(export, at, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	path := filepath.Join(at, dir)
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return f(repository.New("nfs", path, exporter))
}

// published makes a full backup.
func published(r *repository.Repository) (manifest.Manifest, error) {
	m := manifesttest.Full("vm", 1_700_000_000)
	if err := r.MakeDir("vm", m.BackupID); err != nil {
		return m, err
	}
	return m, errors.Join(writeImages(r.Dir("vm", m.BackupID), m, "old"), r.Publish("vm", m))
}

// writeImages writes images as exporters do: as their user, in a directory that is theirs.
func writeImages(dir string, m manifest.Manifest, text string) error {
	for _, d := range m.Disks {
		path := filepath.Join(dir, d.File)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chown(path, exporter.UID, exporter.GID)); err != nil {
			return err
		}
	}
	return nil
}

// sealed makes the directory of a merge with a new first image. The second is linked.
func sealed(r *repository.Repository, m manifest.Manifest) (manifest.Manifest, error) {
	m.Merge = &record.Merged{At: m.CreatedAt, Synthetic: true, Points: 1}
	if err := r.MakeMerge("vm", m.BackupID); err != nil {
		return m, err
	}
	first := m
	first.Disks = m.Disks[:1]
	return m, errors.Join(writeImages(repository.MergeDir(r.Path, "vm", m.BackupID), first, "new"), r.SealMerge("vm", m, []string{m.Disks[1].File}))
}

// ready is a restore point and its merge, before the commit.
func ready(r *repository.Repository) (manifest.Manifest, error) {
	m, err := published(r)
	if err != nil {
		return m, err
	}
	return sealed(r, m)
}

// checkMerged fails unless the merged restore point is whole, and all that is left.
func checkMerged(r *repository.Repository, m manifest.Manifest) error {
	got, err := r.Manifest("vm", m.BackupID)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(r.Dir("vm", m.BackupID), m.Disks[0].File))
	if err != nil {
		return err
	}
	points, problems, err := r.Points()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(r.Path, "vm"))
	if err != nil || got.Merge == nil || string(text) != "new" || len(points) != 1 || !points[0].Whole || len(problems) > 0 || len(entries) != 1 {
		return fmt.Errorf("%+v, %q, %+v, %v, %v: %w", got.Merge, text, points, problems, entries, err)
	}
	return nil
}

func merged(g *guest, dir string) error {
	return g.with("export", dir, hard, func(r *repository.Repository) error {
		m, err := ready(r)
		if err != nil {
			return err
		}
		err = unix.Renameat2(unix.AT_FDCWD, r.Dir("vm", m.BackupID), unix.AT_FDCWD, repository.MergeDir(r.Path, "vm", m.BackupID), unix.RENAME_EXCHANGE)
		if !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("an exchange of directories ends with %v", err)
		}
		if err := errors.Join(r.CommitMerge("vm", m), r.RemoveMerge("vm", m.BackupID), checkMerged(r, m)); err != nil {
			return err
		}
		return errors.Join(r.RemovePoint("vm", m.BackupID), gone(filepath.Join(r.Path, "vm")))
	})
}

func gone(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is still there: %w", path, err)
	}
	return nil
}

// mergedWhileOpen removes an image that is open: the client keeps it under another name (.nfs…) until it is closed, so its directory
// stays that long. The restore point is whole all the time.
func mergedWhileOpen(g *guest, dir string) error {
	return g.with("export", dir, hard, func(r *repository.Repository) error {
		m, err := ready(r)
		if err != nil {
			return err
		}
		open, err := os.Open(filepath.Join(r.Dir("vm", m.BackupID), m.Disks[0].File))
		if err != nil {
			return err
		}
		if err := r.CommitMerge("vm", m); err != nil {
			return err
		}
		if err := r.RemoveMerge("vm", m.BackupID); err == nil {
			return errors.New("the directory of an open file was removed; is this NFS?")
		}
		text := make([]byte, 3)
		if _, err := open.ReadAt(text, 0); err != nil || string(text) != "old" {
			return fmt.Errorf("the open image is read as %q: %w", text, err)
		}
		if _, err := r.Manifest("vm", m.BackupID); err != nil {
			return err
		}
		return errors.Join(open.Close(), r.RemoveMerge("vm", m.BackupID), checkMerged(r, m))
	})
}

// serverRestarted commits a merge while the server is down: the commit waits, and is done when the server is back.
func serverRestarted(g *guest, dir string) error {
	return g.with("export", dir, hard, func(r *repository.Repository) error {
		m, err := ready(r)
		if err != nil {
			return err
		}
		if err := g.ask("kill"); err != nil {
			return err
		}
		done := make(chan error, 1)
		go func() { done <- r.CommitMerge("vm", m) }()
		select {
		case err = <-done:
			err = fmt.Errorf("the commit does not wait for the server: %w", err)
		case <-time.After(3 * time.Second):
		}
		if err := errors.Join(err, g.ask("start")); err != nil {
			return err
		}
		if err := <-done; err != nil && !errors.Is(err, repository.ErrMidMerge) {
			return err
		}
		return errors.Join(r.FinishMerge("vm", m.BackupID), r.RemoveMerge("vm", m.BackupID), checkMerged(r, m))
	})
}

// serverSilent uses a repository whose server does not answer. Each operation ends, with an error that is no damage, and the next one
// after the server is back succeeds. With version 4 a soft mount gives up only when the connection is lost: a server that hangs and
// keeps it hangs the client, as with a hard mount.
func serverSilent(g *guest, dir string) error {
	away, back := "stop", "continue"
	if g.version != "3" {
		away, back = "kill", "start"
	}
	return g.with("export", dir, soft, func(r *repository.Repository) error {
		m, err := ready(r)
		if err != nil {
			return err
		}
		if err := g.ask(away); err != nil {
			return err
		}
		begun := time.Now()
		_, read := r.Digest(context.Background(), "vm", m.BackupID, m.Disks[0].File, digest.Options{})
		commit := r.CommitMerge("vm", m)
		took := time.Since(begun)
		if err := g.ask(back); err != nil {
			return err
		}
		fmt.Printf("%sfact a digest ends with %v, a commit with %v, together after %s\n", say, read, commit, took.Round(time.Second))
		var damage *chain.Damage
		switch {
		case commit == nil || took > time.Minute:
			return fmt.Errorf("a commit ends with %w, after %s", commit, took)
		case errors.As(chain.Finding(commit), &damage) || read != nil && errors.As(chain.Finding(read), &damage):
			return fmt.Errorf("it is taken for damage: %w; %w", read, commit)
		}
		// What was asked may be done late. Both are right: the old restore point, and the merged one.
		if err := r.FinishMerge("vm", m.BackupID); err != nil {
			return err
		}
		if got, err := r.Manifest("vm", m.BackupID); err != nil || got.Merge != nil {
			return errors.Join(err, r.RemoveMerge("vm", m.BackupID), checkMerged(r, m))
		}
		if _, err := sealed(r, m); err != nil {
			return err
		}
		return errors.Join(r.CommitMerge("vm", m), r.RemoveMerge("vm", m.BackupID), checkMerged(r, m))
	})
}

// filesVanish removes on the server what the client has open. A read is then an error of the system (ESTALE, EIO), and no damage. A restore
// point whose files are gone is found missing.
func filesVanish(g *guest, dir string) error {
	return g.with("export", dir, hard, func(r *repository.Repository) error {
		m, err := published(r)
		if err != nil {
			return err
		}
		image, err := os.OpenFile(filepath.Join(r.Dir("vm", m.BackupID), m.Disks[0].File), os.O_RDONLY|unix.O_DIRECT, 0)
		if err != nil {
			return err
		}
		defer image.Close() //nolint:errcheck // it is gone
		// The server has the file open too, until it ends.
		if err := errors.Join(g.ask("remove "+filepath.Join(dir, "vm", m.BackupID)), g.ask("kill"), g.ask("start")); err != nil {
			return err
		}
		_, err = image.ReadAt(make([]byte, 4096), 0)
		fmt.Printf("%sfact an image that was removed on the server is read with %v\n", say, err)
		var damage *chain.Damage
		stale := errors.Is(err, unix.ESTALE) || g.version != "3" && errors.Is(err, unix.EIO) // the client cannot open it again
		if !stale || errors.As(chain.Finding(err), &damage) {
			return fmt.Errorf("an image that was removed on the server is read with %w", err)
		}
		if _, err := r.Manifest("vm", m.BackupID); !errors.Is(err, repository.ErrNoManifest) {
			return fmt.Errorf("a restore point that was removed on the server: %w", err)
		}
		there, err := r.Exists("vm", m.BackupID)
		if there {
			err = errors.New("it is taken for being there")
		}
		return err
	})
}

// rootSquashed makes a backup where the server takes root for nobody. The refusal says what to change.
func rootSquashed(g *guest, dir string) error {
	return g.with("squashed", dir, hard, func(r *repository.Repository) error {
		r = repository.New("nfs", r.Path, &repository.Owner{UID: 12345, GID: 12345})
		err := r.MakeDir("vm", "backup-vm-1")
		var e *fault.Error
		if !errors.Is(err, fs.ErrPermission) || !errors.As(repositories.Fault(err), &e) || !strings.Contains(e.Hint, "no_root_squash") {
			return fmt.Errorf("%w: %+v", err, e)
		}
		fmt.Printf("%sfact a backup is refused with: %v: %s\n", say, e, e.Hint)
		return nil
	})
}
