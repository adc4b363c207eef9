package rebuild

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// A Kind says how catalog and repository differ about a restore point.
type Kind string

// The kinds of differences.
const (
	Unrecorded Kind = "unrecorded" // it is in the repository, but not in the catalog
	Missing    Kind = "missing"    // it is in the catalog, but not in the repository
	Different  Kind = "different"  // its record and its manifest differ
)

// Kinds are all of them.
var Kinds = []Kind{Unrecorded, Missing, Different}

// A Difference is a restore point about which catalog and repository differ.
type Difference struct {
	Kind     Kind
	BackupID string
	Path     string // absolute, of its directory
	Reason   string
}

// maxNamed bounds how many differences are named; all are counted.
const maxNamed = 20

// A Comparison is the result of comparing the catalog with a repository.
type Comparison struct {
	At     time.Time    // when it ended
	Points int          // restore points on the disk, or on record
	Named  []Difference // the first maxNamed differences

	Unrecorded, Missing, Different int // the number of each kind

	Recorded int      // VMs with restore points on record
	Others   int      // directories that are neither restore points nor on record; nothing changes them
	Examples []string // paths of the first maxNamed of them
}

// IsNew says whether the catalog has no restore point of the repository.
func (c Comparison) IsNew() bool { return c.Recorded == 0 }

// Differences is the number of differences of all kinds.
func (c Comparison) Differences() int { return c.Unrecorded + c.Missing + c.Different }

// Count is the number of differences of a kind.
func (c Comparison) Count(kind Kind) int {
	return map[Kind]int{Unrecorded: c.Unrecorded, Missing: c.Missing, Different: c.Different}[kind]
}

// Records are the questions that a comparison asks a database.
type Records interface {
	PointGroups() ([]store.PointGroup, error)
	PointsOf(g store.PointGroup) ([]record.Backup, error)
	Backup(id string) (record.Backup, error)
	Removed(id string) (bool, error)
}

// Compare compares what is in a repository with the catalog, one VM after the other: names first, and a manifest where both
// have the restore point or only the repository has it. It calls pace, which may be nil, before each manifest; pace may wait. A
// restore point that is being made, merged or deleted is no difference. An error is about a repository that cannot be read or
// is empty, about the database, or the end of ctx.
func Compare(ctx context.Context, db Records, r *storage.Repository, pace func(context.Context) error) (Comparison, error) {
	c := &comparing{ctx: ctx, db: db, repository: r, pace: pace}
	recorded, err := c.groups()
	if err != nil {
		return Comparison{}, err
	}
	vms, err := r.VMs(ctx)
	if err != nil && !(errors.Is(err, repository.ErrEmpty) && len(recorded) == 0) {
		return Comparison{}, err
	}
	vms = append(vms, slices.Collect(maps.Keys(recorded))...)
	c.found.Recorded = len(recorded)
	slices.Sort(vms)
	for _, vm := range slices.Compact(vms) {
		if err := c.vm(vm, recorded[vm]); err != nil {
			return Comparison{}, err
		}
	}
	c.found.At = time.Now()
	return c.found, nil
}

type comparing struct {
	ctx        context.Context
	db         Records
	repository *storage.Repository
	pace       func(context.Context) error
	found      Comparison
}

// groups are the VMs on record, by the names of their directories.
func (c *comparing) groups() (map[string][]store.PointGroup, error) {
	all, err := c.db.PointGroups()
	recorded := map[string][]store.PointGroup{}
	for _, g := range all {
		if g.Repository == c.repository.ID {
			recorded[nbd.DirName(g.VM)] = append(recorded[nbd.DirName(g.VM)], g)
		}
	}
	return recorded, err
}

func (c *comparing) vm(vm string, groups []store.PointGroup) error {
	names, err := c.repository.Names(c.ctx, vm)
	if err != nil {
		return err
	}
	recorded := map[string]record.Backup{}
	for _, g := range groups {
		list, err := c.db.PointsOf(g)
		if err != nil {
			return err
		}
		for _, b := range list {
			recorded[b.ID] = b
		}
	}
	if len(names) == 0 && len(groups) == 0 {
		return c.without(vm)
	}
	for _, id := range names {
		b, known := recorded[id]
		delete(recorded, id)
		if known {
			err = c.both(vm, b)
		} else {
			err = c.unrecorded(vm, id)
		}
		if err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(recorded)) {
		if err := c.missing(vm, recorded[id]); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparing) add(kind Kind, vm, id, reason string) {
	switch kind {
	case Unrecorded:
		c.found.Unrecorded++
	case Missing:
		c.found.Missing++
	case Different:
		c.found.Different++
	}
	if len(c.found.Named) < maxNamed {
		c.found.Named = append(c.found.Named, Difference{Kind: kind, BackupID: id, Path: c.repository.Dir(vm, id), Reason: reason})
	}
}

// manifest reads a manifest when pace allows it.
func (c *comparing) manifest(vm, id string) (manifest.Manifest, error) {
	if err := c.ctx.Err(); err != nil {
		return manifest.Manifest{}, err
	}
	if c.pace != nil {
		if err := c.pace(c.ctx); err != nil {
			return manifest.Manifest{}, err
		}
	}
	return c.repository.Manifest(c.ctx, vm, id)
}

// unrecorded compares what is in the repository and not among the restore points on record. The record comes before the
// manifest, so everything with a manifest should have a record.
func (c *comparing) unrecorded(vm, id string) error {
	m, damaged := c.manifest(vm, id)
	switch {
	case c.ctx.Err() != nil:
		return c.ctx.Err()
	case errors.Is(damaged, repository.ErrNoManifest):
		return c.unfinished(vm, id)
	}
	c.found.Points++
	known, err := c.db.Backup(id)
	var missing *store.NotFoundError
	switch {
	case errors.As(err, &missing):
		return c.nowhere(vm, id, damaged)
	case err != nil:
		return err
	case damaged != nil && known.State == record.Completed:
		return nil // it was completed meanwhile; a verification reads it
	}
	if why := contradiction(c.ctx, c.repository, known, m, c.repository.Dir(vm, id)); why != nil && c.stillThere(vm, id) {
		c.add(Unrecorded, vm, id, why.Error())
	}
	return nil
}

// unfinished is for a directory without a manifest: of a backup on record, or else of one that another database knew.
func (c *comparing) unfinished(vm, id string) error {
	_, err := c.db.Backup(id)
	var missing *store.NotFoundError
	if !errors.As(err, &missing) {
		return err
	}
	if there, err := c.repository.Exists(c.ctx, vm, id); err != nil || !there || c.stillThere(vm, id) {
		return err
	}
	c.other(c.repository.Dir(vm, id))
	return nil
}

// without is for a directory of the repository without any directory of a backup.
func (c *comparing) without(vm string) error {
	foreign, err := c.repository.OnlyFiles(c.ctx, vm)
	if foreign {
		c.other(filepath.Join(c.repository.Path, vm))
	}
	return err
}

func (c *comparing) other(path string) {
	c.found.Others++
	if len(c.found.Examples) < maxNamed {
		c.found.Examples = append(c.found.Examples, path)
	}
}

// nowhere is unrecorded for what has no record at all.
func (c *comparing) nowhere(vm, id string, damaged error) error {
	removed, err := c.db.Removed(id)
	if err != nil || !c.stillThere(vm, id) { // it was deleted meanwhile
		return err
	}
	switch {
	case removed:
		c.add(Unrecorded, vm, id, errDeleted(id).Error())
	case damaged != nil:
		c.add(Unrecorded, vm, id, "it is not on record, and its manifest cannot be read: "+damaged.Error())
	default:
		c.add(Unrecorded, vm, id, "it is not on record")
	}
	return nil
}

// stillThere says whether there is a manifest now, readable or not.
func (c *comparing) stillThere(vm, id string) bool {
	_, err := c.repository.Manifest(c.ctx, vm, id)
	return !errors.Is(err, repository.ErrNoManifest)
}

// idle reads a record again, and says whether it is that of a restore point that is not being merged or deleted.
func (c *comparing) idle(id string) (b record.Backup, idle bool, err error) {
	b, err = c.db.Backup(id)
	var missing *store.NotFoundError
	if errors.As(err, &missing) {
		return b, false, nil
	}
	return b, err == nil && b.State == record.Completed && b.Merge == nil, err
}

// missing checks what is on record and was not in the list of the repository.
func (c *comparing) missing(vm string, b record.Backup) error {
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	c.found.Points++
	there, err := c.repository.Exists(c.ctx, vm, b.ID)
	if err != nil || there { // it was made meanwhile
		return err
	}
	if _, idle, err := c.idle(b.ID); err != nil || !idle {
		return err
	}
	c.add(Missing, vm, b.ID, "its directory is not there")
	return nil
}

// both compares what is in both.
func (c *comparing) both(vm string, b record.Backup) error {
	c.found.Points++
	if b.Merge != nil || c.difference(vm, b) == nil {
		return c.ctx.Err()
	}
	// It may have been merged or deleted meanwhile.
	b, idle, err := c.idle(b.ID)
	if err != nil || !idle || c.ctx.Err() != nil {
		return errors.Join(err, c.ctx.Err())
	}
	d := c.difference(vm, b)
	if _, idle, err := c.idle(b.ID); err != nil || !idle || d == nil || c.ctx.Err() != nil {
		return errors.Join(err, c.ctx.Err())
	}
	c.add(d.Kind, vm, b.ID, d.Reason)
	return nil
}

// difference compares a record with its manifest; nil if they agree.
func (c *comparing) difference(vm string, b record.Backup) *Difference {
	m, err := c.manifest(vm, b.ID)
	switch {
	case errors.Is(err, repository.ErrNoManifest):
		return &Difference{Kind: Missing, Reason: "its manifest is not there"}
	case err != nil:
		return &Difference{Kind: Different, Reason: "its manifest cannot be read: " + err.Error()}
	}
	if at := c.repository.Dir(vm, b.ID); b.Directory != at {
		return &Difference{Kind: Different, Reason: fmt.Sprintf("it is on record in %s", b.Directory)}
	}
	if what, _ := m.Disagrees(b); what != "" {
		return &Difference{Kind: Different, Reason: what}
	}
	return nil
}
