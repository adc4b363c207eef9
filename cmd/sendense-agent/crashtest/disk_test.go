package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/cmd/sendense-agent/crashtest/powerloss"
)

// An inspector looks at what a disk may hold after a loss of power, without starting anything on it.
type inspector struct {
	*crash
	databases map[string]database // by the key of the file
	catalogs  map[string]catalog  // by all names and the keys of the manifests
	images    map[string]error    // by the keys of all images of a VM
	classes   map[string]bool     // of states that a daemon was started on
	states    int                 // looked at
	starts    int
}

type catalog struct {
	points []repository.Found
	err    error // of the repository, or what is wrong in it
}

type database struct {
	records map[string]record.Backup
	err     error
}

// newInspector has the states made real in memory, where the file systems that were recorded had been.
func newInspector(c *crash) *inspector {
	c.Helper()
	for _, dir := range []string{c.dir + "/state", c.dir + "/repository"} {
		out, err := exec.Command("mount", "-t", "tmpfs", "powerloss", dir).CombinedOutput()
		if err != nil {
			c.Fatalf("mount: %v: %s", err, out)
		}
		c.Cleanup(func() {
			if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
				c.Errorf("umount: %v: %s", err, out)
			}
		})
	}
	return &inspector{crash: c, databases: map[string]database{}, images: map[string]error{}, catalogs: map[string]catalog{}, classes: map[string]bool{}}
}

// check says what is wrong with a state.
func (i *inspector) check(s powerloss.State, f *facts) error {
	files := s.Files()
	db := i.database(files[i.databasePath()])
	if db.err != nil && !i.operation.lost {
		return db.err
	}
	if db.records == nil {
		if f.ready && !i.operation.lost {
			return errors.New("the database is gone")
		}
	}
	return errors.Join(i.checkFacts(f, db, false), i.checkPoints(s, files, f, db))
}

// checkFacts compares a database with what the world knows. One that is lost holds nothing, until it is made again.
func (i *inspector) checkFacts(f *facts, db database, started bool) error {
	if !i.operation.lost {
		return f.check(db.records, started)
	}
	if db.err != nil || db.records == nil || i.operation.imports && !started {
		return nil
	}
	return f.checkRebuilt(db.records)
}

func (i *inspector) databasePath() string { return filepath.Join(i.dir, "state", "agent.db") }

// database reads a database. One that is not there has no records.
func (i *inspector) database(f *powerloss.File) database {
	i.Helper()
	if f == nil {
		return database{}
	}
	if db, ok := i.databases[f.Key()]; ok {
		return db
	}
	path := filepath.Join(i.dir, "state", "looked-at.db")
	must(i.T, os.WriteFile(path, f.Content(), 0o600))
	db := database{records: map[string]record.Backup{}}
	db.err = readDatabase(path, db.records)
	must(i.T, os.Remove(path))
	i.databases[f.Key()] = db
	return db
}

func readDatabase(path string, records map[string]record.Backup) error {
	s, err := store.Open(path, store.Options{MustExist: true})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Check(context.Background()); err != nil {
		return err
	}
	page, _, err := s.Backups(store.Query{Limit: store.MaxPage})
	for _, b := range page {
		records[b.ID] = b
	}
	return err
}

// checkPoints: every manifest is of a backup that may have one, and is that of a whole restore point; and every backup
// that is completed has one.
func (i *inspector) checkPoints(s powerloss.State, files map[string]*powerloss.File, f *facts, db database) error {
	catalog := i.catalog(s, files)
	all := []error{catalog.err}
	whole := map[string]bool{}
	for _, p := range catalog.points {
		id := p.Manifest.BackupID
		whole[id] = p.Whole
		all = append(all, i.checkPoint(s, files, p, f, db.records[id]))
	}
	for id, b := range db.records {
		if b.State == record.Completed && !whole[id] {
			all = append(all, fmt.Errorf("backup %s is completed, and is no whole restore point", id))
		}
		if aside := i.asideOf(b); aside != "" && files[aside] == nil && !f.doomed[id] {
			all = append(all, fmt.Errorf("backup %s has failed, and what was set aside of it is not there", id))
		}
		// A daemon takes the repository for one that is away, and waits.
		if goesOn(b) && files[b.Directory] == nil {
			all = append(all, fmt.Errorf("backup %s is %s in directory %s, which is not there", id, b.State, b.Directory))
		}
	}
	for id, state := range f.ended {
		if string(state) == string(record.Completed) && !whole[id] && !f.doomed[id] {
			all = append(all, fmt.Errorf("backup %s was told to be completed, and is no whole restore point", id))
		}
	}
	return errors.Join(append(all, i.checkDeleted(files, f))...)
}

// asideOf is where the images of a backup are kept that has failed; "" if they are not kept.
func (i *inspector) asideOf(b record.Backup) string {
	if b.State != record.Failed || b.SeenAt.IsZero() || !strings.Contains(i.operation.config, "set_aside") {
		return ""
	}
	return filepath.Join(i.dir, "repository", ".failed", filepath.Base(filepath.Dir(b.Directory)), b.ID)
}

// goesOn says whether a backup has a directory that is not to be removed.
func goesOn(b record.Backup) bool {
	return b.DirectoryMade && b.State.Active() && b.State != record.Undoing
}

// catalog reads a repository, once for all states with the same names and manifests. To see that an image is there an empty
// file will do.
func (i *inspector) catalog(s powerloss.State, files map[string]*powerloss.File) catalog {
	i.Helper()
	var key strings.Builder
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintln(&key, path, files[path].Attrs)
		if isManifest(path) {
			fmt.Fprintln(&key, files[path].Key())
		}
	}
	if c, known := i.catalogs[key.String()]; known {
		return c
	}
	must(i.T, s.Write(func(path string, f *powerloss.File) []byte {
		if isManifest(path) {
			return f.Content()
		}
		return nil
	}))
	points, problems, err := repository.New("main", filepath.Join(i.dir, "repository"), nil).Points()
	c := catalog{points: points, err: err}
	for _, p := range problems {
		c.err = errors.Join(c.err, fmt.Errorf("repository: %s: %w", p.Path, p.Err))
	}
	i.catalogs[key.String()] = c
	return c
}

func isManifest(path string) bool {
	return strings.HasPrefix(filepath.Base(path), manifest.FileName)
}

func (i *inspector) checkPoint(s powerloss.State, files map[string]*powerloss.File, p repository.Found, f *facts, b record.Backup) error {
	id := p.Manifest.BackupID
	switch {
	case f.deleted[id]:
		return fmt.Errorf("the deletion of %s was answered, and there is its manifest", id)
	case i.operation.lost:
	case b.State != record.Completed && b.State != record.Deleting && (b.State != record.Finishing || b.PublishingAt.IsZero()):
		return fmt.Errorf("%s has a manifest and is %q", p.Path, b.State)
	}
	return i.compareImages(s, files, p)
}

// compareImages compares the images of a restore point with what the disks were, once for each content that they may have.
func (i *inspector) compareImages(s powerloss.State, files map[string]*powerloss.File, p repository.Found) error {
	key := p.Path
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if filepath.Dir(filepath.Dir(path)) == filepath.Dir(p.Path) {
			key += " " + files[path].Key()
		}
	}
	if err, known := i.images[key]; known {
		return err
	}
	if err := s.Write(nil); err != nil {
		return err
	}
	i.images[key] = i.compare(p)
	return i.images[key]
}

func (i *inspector) compare(p repository.Found) error {
	instants := i.instants[p.Manifest.BackupID]
	if len(instants) != len(p.Manifest.Disks) {
		return fmt.Errorf("%s has %d disks, and %d were in its snapshot", p.Path, len(p.Manifest.Disks), len(instants))
	}
	var problems []error
	for k, d := range p.Manifest.Disks {
		image := filepath.Join(directoryOf(p), d.File)
		out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "qcow2", instants[k], image).CombinedOutput()
		if err != nil {
			problems = append(problems, fmt.Errorf("%s has a manifest and is not what its disk was: %s", image, out))
		}
	}
	return errors.Join(problems...)
}

// checkDeleted: nothing that no daemon looks for is left of a backup whose deletion was answered.
func (i *inspector) checkDeleted(files map[string]*powerloss.File, f *facts) error {
	for path := range files {
		if f.deleted[filepath.Base(path)] && strings.Contains(path, "/repository/.failed/") {
			return fmt.Errorf("the deletion of %s was answered, and there is %s", filepath.Base(path), path)
		}
	}
	return nil
}
