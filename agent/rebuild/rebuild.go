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

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/store"
)

// Update puts on record what the repositories hold and the database does not know: restore points, and VMs as their newest
// restore point describes them. A record that is older than the manifest of its restore point follows it; all else that is on record
// stays as it is. An error is one of the database and ends the work; what
// else is not as it should be is a problem in the report.
func Update(db *store.Store, repositories []*repository.Repository) (*Report, error) {
	b := &builder{store: db, report: newReport(), newest: map[string]manifest.Manifest{}}
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
	newest map[string]manifest.Manifest // by VM name
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
const maxPlausible = record.MaxSequence / 2

// order puts restore points in the order in which they were made, so that a rebuild that is cut short leaves no child without
// its parent, and gives each the sequence that it will have. Manifests of older agents have none.
func (b *builder) order(points []repository.Found) {
	made := map[string][]record.Made{}
	for i := range points {
		m := &points[i].Manifest
		if m.Sequence > maxPlausible {
			b.report.problem(points[i].Path, fmt.Errorf("sequence %d is not plausible: the restore point is ordered by its parent and "+
				"its date", m.Sequence))
			m.Sequence = 0
		}
		made[m.VM.Name] = append(made[m.VM.Name], record.Made{ID: m.BackupID, Parent: m.Parent, Sequence: m.Sequence, CreatedAt: m.CreatedAt})
	}
	now := time.Now()
	sequences := map[string]uint64{}
	for _, list := range made {
		maps.Copy(sequences, record.Sequences(list, now))
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
	to := &b.report.Imported
	if !added {
		to = &b.report.AlreadyThere
		why, corrected, err := b.compare(m, r.ID, p.Path)
		switch {
		case err != nil:
			return err
		case why != nil:
			b.report.problem(p.Path, why)
			return nil
		case corrected:
			to = &b.report.Corrected
		}
	}
	*to = append(*to, Point{BackupID: m.BackupID, VMName: m.VM.Name, Repository: r.ID, Directory: p.Path})
	if old, ok := b.newest[m.VM.Name]; !ok || m.Sequence >= old.Sequence {
		b.newest[m.VM.Name] = m
	}
	return nil
}

// compare says why what was not imported is not what the database knows under its id; nil if it is. Where the record only lacks what a
// rewriting has changed since, it is corrected.
func (b *builder) compare(m manifest.Manifest, repositoryID, directory string) (why error, corrected bool, err error) {
	removed, err := b.store.Removed(m.BackupID)
	if err != nil {
		return nil, false, err
	}
	if removed {
		return errDeleted(m.BackupID), false, nil
	}
	known, err := b.store.Backup(m.BackupID)
	if err != nil {
		return nil, false, err
	}
	if why := contradiction(known, m, repositoryID, directory); why != nil || known.State != record.Completed {
		return why, false, nil
	}
	what, rewritten := m.Disagrees(known)
	switch {
	case what == "" || known.Merge != nil: // the daemon brings a rewriting to its end
		return nil, false, nil
	case !rewritten:
		return fmt.Errorf("backup %s differs from its record: %s: keep it; %s", m.BackupID, what, takenIn), false, nil
	}
	_, _, err = b.store.Update(m.BackupID, time.Now(), func(b *record.Backup) error {
		m.Follow(b)
		return nil
	}, store.FromManifest())
	if refused(err) {
		return fmt.Errorf("its record is older than its manifest (%s) and is not corrected now: %w: run this again later", what, err), false, nil
	}
	return nil, err == nil, err
}

// refused says whether an error of the database is about the one record, so that the others can be looked at all the same.
func refused(err error) bool {
	var read *store.ReadError
	var state *store.StateError
	var rewriting *store.MergingError
	var missing *store.NotFoundError
	var immutable *store.ImmutableError
	return errors.As(err, &read) || errors.As(err, &state) || errors.As(err, &rewriting) || errors.As(err, &missing) || errors.As(err, &immutable)
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
