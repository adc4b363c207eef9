// Package rebuild makes the catalog again from the manifests in the repositories: it adds what an existing database lacks, or
// replaces one that is damaged or lost. It also compares catalog and repository.
package rebuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
)

// Update puts on record what the repositories have and the database does not: restore points, and VMs as their newest restore
// points describe them. A record that is older than its manifest is corrected. Everything else on record stays as it is. An
// error is about the database and ends the work; everything else that is wrong is a problem in the report.
func Update(ctx context.Context, db *store.Store, repositories []*storage.Repository) (*Report, error) {
	return update(newBuilder(ctx, db), repositories)
}

func update(b *builder, repositories []*storage.Repository) (*Report, error) {
	for _, r := range repositories {
		if err := b.addRepository(r); err != nil {
			return nil, err
		}
	}
	return b.report, b.addVMs()
}

// A builder puts on record what it finds. An error of its methods is about the database and ends the work; everything else is a
// problem in the report.
type builder struct {
	ctx    context.Context
	store  *store.Store
	usable Usable // nil: every restore point is
	live   bool   // the agent works with the database: nothing on record is corrected
	report *Report
	newest map[string]manifest.Manifest // by VM name
}

func newBuilder(ctx context.Context, db *store.Store) *builder {
	return &builder{ctx: ctx, store: db, report: newReport(), newest: map[string]manifest.Manifest{}}
}

func (b *builder) addRepository(r *storage.Repository) error {
	b.report.Repositories = append(b.report.Repositories, r.ID)
	points, problems, err := r.Points(b.ctx)
	if err != nil {
		b.report.problem(r.Path, err)
		return nil
	}
	return b.addPoints(r, points, problems)
}

func (b *builder) addPoints(r *storage.Repository, points []repository.Found, problems []repository.Problem) error {
	for _, p := range problems {
		b.report.problem(p.Path, p.Err)
	}
	b.order(points)
	points = slices.DeleteFunc(points, func(p repository.Found) bool { return !p.Whole }) // a problem already; on record it could become a parent
	points, err := b.withKeys(r, points)
	if err != nil {
		return err
	}
	byVM := map[string][]repository.Found{}
	for _, p := range points {
		byVM[p.Manifest.VM.Name] = append(byVM[p.Manifest.VM.Name], p)
	}
	for _, vm := range slices.Sorted(maps.Keys(byVM)) {
		if err := context.Cause(b.ctx); err != nil {
			return err
		}
		if err := b.addVM(r, byVM[vm]); err != nil {
			return err
		}
	}
	return nil
}

// maxPlausible is the highest sequence of a manifest that is believed. After one near MaxSequence there would be no sequences
// left for later backups.
const maxPlausible = record.MaxSequence / 2

// order orders restore points as they were made, so that a rebuild that is interrupted leaves no child without its parent, and
// gives each its sequence. Manifests of older agents have none.
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

// addVM puts the restore points of a VM on record that are not there, all at once: no deletion sees a parent without its children.
func (b *builder) addVM(r *storage.Repository, points []repository.Found) error {
	var backups []record.Backup
	for _, p := range points {
		backups = append(backups, p.Manifest.Backup(r.ID, p.Path))
	}
	failpoint.Reach("import: before a vm")
	added, err := b.store.ImportAll(backups)
	if err != nil {
		return err
	}
	failpoint.Reach("import: after a vm")
	for i, p := range points {
		if err := b.addPoint(r, p, added[i]); err != nil {
			return err
		}
	}
	return nil
}

// addPoint reports a restore point that was put on record, or was there.
func (b *builder) addPoint(r *storage.Repository, p repository.Found, added bool) error {
	m := p.Manifest
	to := &b.report.Imported
	if !added {
		to = &b.report.AlreadyThere
		why, corrected, err := b.compare(m, r, p.Path)
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

// compare says why a restore point that was not imported is not what the database has under its id; nil if it is. If the record
// only lacks a merge, it is corrected.
func (b *builder) compare(m manifest.Manifest, r *storage.Repository, directory string) (why error, corrected bool, err error) {
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
	if why := contradiction(b.ctx, r, known, m, directory); why != nil || known.State != record.Completed || b.live {
		return why, false, nil
	}
	what, merged := m.Disagrees(known)
	switch {
	case what == "" || known.Merge != nil: // the daemon finishes the merge
		return nil, false, nil
	case !merged:
		return fmt.Errorf("backup %s differs from its record: %s: keep it; %s", m.BackupID, what, toImport), false, nil
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

// refused says whether an error of the database is about a single record, so that the work can go on with the others.
func refused(err error) bool {
	var read *store.ReadError
	var state *store.StateError
	var merging *store.MergingError
	var missing *store.NotFoundError
	var immutable *store.ImmutableError
	return errors.As(err, &read) || errors.As(err, &state) || errors.As(err, &merging) || errors.As(err, &missing) || errors.As(err, &immutable)
}

// addVMs registers the VMs that have restore points and no record.
func (b *builder) addVMs() error {
	for _, m := range b.newest {
		vm := m.Backup("", "").VM
		vm.AddedAt = time.Now().UTC()
		failpoint.Reach("import: before the record of a vm")
		added, err := b.store.AddVM(vm)
		if err != nil {
			return err
		}
		if added {
			b.report.VMs = append(b.report.VMs, m.VM.Name)
		}
	}
	slices.Sort(b.report.VMs)
	return nil
}
