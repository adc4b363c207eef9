// Package rebuild makes the catalog again from the manifests in the repositories: it brings an existing database up to what
// they hold, or puts a new one in the place of one that is damaged or lost.
package rebuild

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
)

// Update puts on record what the repositories hold and the database does not know: restore points, and VMs as their newest
// restore point describes them. What is on record stays as it is. An error is one of the database and ends the work; what
// else is not as it should be is a problem in the report.
func Update(db *store.Store, repositories []*repository.Repository) (*Report, error) {
	b := &builder{store: db, report: newReport(), newest: map[string]repository.Manifest{}}
	for _, r := range repositories {
		if err := b.addRepository(r); err != nil {
			return nil, err
		}
	}
	return b.report, b.addVMs()
}

// A builder puts on record what it finds. An error of its methods is one of the database, which ends the work;
// everything else is a problem in the report.
type builder struct {
	store  *store.Store
	report *Report
	newest map[string]repository.Manifest // by VM name
}

func (b *builder) addRepository(r *repository.Repository) error {
	b.report.Repositories = append(b.report.Repositories, r.ID)
	points, problems, err := r.Points()
	if err != nil {
		b.report.problem(r.Path, err)
		return nil
	}
	for _, p := range problems {
		b.report.problem(p.Path, p.Err)
	}
	b.order(points)
	for _, p := range points {
		if !p.Whole {
			continue // a problem names it; on record it would be built upon
		}
		if err := b.addPoint(r, p); err != nil {
			return err
		}
	}
	return nil
}

// maxPlausible is the highest sequence of a manifest that is believed. Were one taken over that is near the highest of all,
// there would be none left for later backups.
const maxPlausible = backup.MaxSequence / 2

// order puts restore points in the order in which they were made, so that a rebuild that is cut short leaves no child without
// its parent, and gives each the sequence that it will have. Manifests of older agents have none.
func (b *builder) order(points []repository.Found) {
	made := map[string][]backup.Made{}
	for i := range points {
		m := &points[i].Manifest
		if m.Sequence > maxPlausible {
			b.report.problem(points[i].Path, fmt.Errorf("sequence %d is that of no agent: the restore point is put where its parent and "+
				"its date have it", m.Sequence))
			m.Sequence = 0
		}
		made[m.VM.Name] = append(made[m.VM.Name], backup.Made{ID: m.BackupID, Parent: m.Parent, Sequence: m.Sequence, CreatedAt: m.CreatedAt})
	}
	now := time.Now()
	sequences := map[string]uint64{}
	for _, list := range made {
		maps.Copy(sequences, backup.Sequences(list, now))
	}
	for i := range points {
		points[i].Manifest.Sequence = sequences[points[i].Manifest.BackupID]
	}
	slices.SortFunc(points, func(x, y repository.Found) int {
		return cmp.Or(cmp.Compare(x.Manifest.Sequence, y.Manifest.Sequence), cmp.Compare(x.Path, y.Path))
	})
}

// addPoint puts one restore point on record, unless it is there.
func (b *builder) addPoint(r *repository.Repository, p repository.Found) error {
	m := p.Manifest
	added, err := b.store.Import(m.Backup(r.ID, p.Path))
	if err != nil {
		return err
	}
	if !added {
		if why, err := b.compare(m.BackupID, p.Path); err != nil {
			return err
		} else if why != nil {
			b.report.problem(p.Path, why)
			return nil
		}
	}
	b.report.add(Point{BackupID: m.BackupID, VMName: m.VM.Name, Repository: r.ID, Directory: p.Path}, added)
	if old, ok := b.newest[m.VM.Name]; !ok || m.Sequence >= old.Sequence {
		b.newest[m.VM.Name] = m
	}
	return nil
}

// compare says why what was not imported is not what the database knows under its id; nil if it is. A backup that is
// active there is completed by the daemon, which finds the manifest.
func (b *builder) compare(id, directory string) (why, err error) {
	removed, err := b.store.Removed(id)
	if err != nil {
		return nil, err
	}
	if removed {
		return fmt.Errorf("backup %s was deleted and its directory is left behind: remove the directory", id), nil
	}
	known, err := b.store.Backup(id)
	switch {
	case err != nil:
		return nil, err
	case known.Directory != directory:
		return fmt.Errorf("backup %s is on record in %s: remove this directory if it is a copy; "+
			"if the repository was moved, move the database away and run this again", id, known.Directory), nil
	case known.State.Terminal() && known.State != backup.Completed && known.State != backup.Deleting:
		return fmt.Errorf("backup %s has a manifest and is on record as %s: look at both, and remove one", id, known.State), nil
	}
	return nil, nil
}

// addVMs registers the VMs that have restore points and no record.
func (b *builder) addVMs() error {
	for _, m := range b.newest {
		_, err := b.store.VM(m.VM.Name)
		var missing *store.NotFoundError
		if errors.As(err, &missing) {
			vm := m.Backup("", "").VM
			vm.AddedAt = time.Now().UTC()
			_, err = b.store.PutVM(vm)
			b.report.VMs = append(b.report.VMs, m.VM.Name)
		}
		if err != nil {
			return err
		}
	}
	slices.Sort(b.report.VMs)
	return nil
}
