package catalog_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/catalog"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/store"
)

// forget stops the agent and removes its database, as on a new hub.
func forget(w *agenttest.World) {
	w.Helper()
	w.Stop()
	agenttest.Must(w.TB, os.Remove(filepath.Join(w.Config.Agent.StateDirectory, "agent.db")))
}

// onRecord returns the ids of the restore points on record, sorted.
func onRecord(w *agenttest.World) (ids []string) {
	w.Helper()
	list, _, err := w.Store.Backups(store.Query{State: record.Completed, Limit: store.MaxPage})
	agenttest.Must(w.TB, err)
	for _, b := range list {
		ids = append(ids, b.ID)
	}
	slices.Sort(ids)
	return ids
}

// imports waits until exactly these restore points are on record, and the repository was compared.
func imports(w *agenttest.World, points ...record.Backup) catalog.State {
	w.Helper()
	var want []string
	for _, b := range points {
		want = append(want, b.ID)
	}
	slices.Sort(want)
	w.Eventually("the restore points are imported", func() bool {
		s := w.Agent.Catalog.State("main")
		return slices.Equal(onRecord(w), want) && !s.Importing && s.Imported != nil && !s.At.IsZero()
	})
	return w.Agent.Catalog.State("main")
}

// tree is every file of a repository with its size and its time, to show that nothing was changed.
func tree(t testing.TB, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	agenttest.Must(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		found[path] = info.Mode().String() + info.ModTime().String()
		return err
	}))
	return found
}

// TestImportOfNewRepository: a new hub gets the repository of another one. Its restore points and VMs are on record without any request,
// the next incremental is based on them, and what is deleted later does not come back.
func TestImportOfNewRepository(t *testing.T) {
	w := agenttest.New(t)
	_, sources := w.PutVM("a", 1<<20)
	w.PutVM("b", 1<<20)
	full := w.Point("a", record.Full)
	agenttest.Scribble(t, sources[0], 0)
	points := []record.Backup{full, w.Point("a", record.Incremental), w.Point("b", record.Full)}
	forget(w)
	w.Start()
	s := imports(w, points...)
	if s.Differences() != 0 || s.Imported.Points != 3 || s.Imported.VMs != 2 || s.Imported.Problems != 0 || s.Waiting {
		t.Errorf("%+v", s)
	}
	w.WantSeries(w.Scrape(), agenttest.Series{
		`sendense_catalog_imported_total{repository="main"}`:                3,
		`sendense_catalog_import_problems_total{repository="main"}`:         0,
		`sendense_catalog_differences{kind="unrecorded",repository="main"}`: 0,
	})
	for _, f := range w.DoctorSays("records") {
		if f.Status != "ok" {
			t.Errorf("%+v", f)
		}
	}
	agenttest.Scribble(t, sources[0], 4096)
	next := w.Point("a", record.Incremental)
	if next.Parent != points[1].ID {
		t.Errorf("the next one is based on %q", next.Parent)
	}
	for _, id := range []string{next.ID, points[2].ID, points[1].ID, points[0].ID} {
		agenttest.Must(t, w.Delete(id))
	}
	w.Stop()
	w.Start()
	w.Eventually("it is compared", func() bool { return !w.Agent.Catalog.State("main").At.IsZero() })
	if ids := onRecord(w); len(ids) != 0 {
		t.Errorf("deleted ones came back: %q", ids)
	}
}

// TestImportIsAnEvent: those who watch repositories hear of it.
func TestImportIsAnEvent(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("a", 1<<20)
	b := w.Point("a", record.Full)
	forget(w)
	agenttest.Must(t, os.Rename(b.Directory, filepath.Join(w.Dir, "away")))
	w.Start()
	heard, err := w.Agent.Watch(t.Context(), events.Query{Pauses: true})
	agenttest.Must(t, err)
	_, err = w.Agent.PauseRepository(t.Context(), "main", "")
	agenttest.Must(t, err)
	agenttest.Must(t, os.Rename(filepath.Join(w.Dir, "away"), b.Directory))
	w.Stop() // the next comparison is due in a minute; a start compares at once
	for range heard {
	}
	w.Start()
	heard, err = w.Agent.Watch(t.Context(), events.Query{Pauses: true})
	agenttest.Must(t, err)
	_, err = w.Agent.ResumeRepository(t.Context(), "main")
	agenttest.Must(t, err)
	for e := range heard {
		if e.Kind == events.RepositoryImported {
			if e.Imported.Repository != "main" || e.Imported.Points != 1 || e.Imported.VMs != 1 {
				t.Errorf("%+v", e.Imported)
			}
			return
		}
	}
	t.Error("there was no event")
}

// TestImportNamesTheRest: what cannot be imported is named, and nothing in the repository is changed.
func TestImportNamesTheRest(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("a", 1<<20)
	w.PutVM("b", 1<<20)
	whole, damaged, imageless := w.Point("a", record.Full), w.Point("b", record.Full), w.Point("b", record.Full)
	forget(w)
	path := filepath.Join(damaged.Directory, manifest.FileName)
	agenttest.Must(t, os.Chmod(path, 0o640))
	agenttest.Must(t, os.WriteFile(path, []byte("{"), 0o440))
	agenttest.Must(t, os.Rename(imageless.Runs[0].Image, filepath.Join(w.Dir, "image")))
	root := w.Config.Repositories[0].Path
	half, foreign := filepath.Join(root, "a", "backup-a-1700000000"), filepath.Join(root, "photos")
	for _, file := range []string{half + "/a-disk0.qcow2", foreign + "/cat.jpg"} {
		agenttest.Must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		agenttest.Must(t, os.WriteFile(file, []byte("x"), 0o644))
	}
	before := tree(t, root)
	w.Start()
	s := imports(w, whole)
	if s.Unrecorded != 2 || s.Imported.Problems < 2 || s.Others != 2 || !slices.Equal(s.Examples, []string{half, foreign}) {
		t.Errorf("%+v", s)
	}
	said := ""
	for _, f := range w.DoctorSays("records") {
		said += string(f.Status) + " " + f.Object + ": " + f.Message + "\n"
	}
	for _, words := range []string{
		"error " + damaged.Directory + ": ", "error " + imageless.Directory + ": disk 0: image", "warning " + half + ": it is no restore point",
		"warning " + foreign + ": it is no restore point",
	} {
		if !strings.Contains(said, words) {
			t.Errorf("the doctor does not say %q:\n%s", words, said)
		}
	}
	for path, was := range before {
		if now := tree(t, root)[path]; now != was {
			t.Errorf("%s was %s and is %q", path, was, now)
		}
	}
	for _, dir := range []string{damaged.Directory, imageless.Directory, half, foreign} {
		agenttest.Must(t, os.RemoveAll(dir))
	}
}

// TestImportWaitsForKey: an encrypted repository without its key is named and not imported. When the daemon has the key, it is.
func TestImportWaitsForKey(t *testing.T) {
	give := agenttest.GiveKeys(t, map[string]string{"old": strings.Repeat("a", 64)})
	w := agenttest.New(t, agenttest.Encrypted("old"))
	w.PutVM("a", 1<<20)
	full := w.Point("a", record.Full)
	give("old", "")
	forget(w)
	w.Start()
	w.Eventually("it is compared", func() bool { return !w.Agent.Catalog.State("main").At.IsZero() })
	s := w.Agent.Catalog.State("main")
	if len(onRecord(w)) != 0 || s.Unrecorded != 1 || !s.Waiting || s.Imported == nil || !strings.Contains(s.Named[0].Reason, `encryption key "old" is missing`) {
		t.Errorf("%+v", s)
	}
	if list := w.DoctorSays("records"); len(list) != 2 || !strings.Contains(list[1].Hint, "give the daemon the missing key") {
		t.Errorf("%+v", list)
	}
	w.Stop()
	give("old", strings.Repeat("a", 64))
	w.Start()
	if s := imports(w, full); s.Differences() != 0 || s.Waiting || s.Imported.Points != 1 {
		t.Errorf("%+v", s)
	}
}

// TestImportOfClosedRepository: a repository that is paused or does not answer is imported when that has ended. The other one does not wait.
func TestImportOfClosedRepository(t *testing.T) {
	w := agenttest.New(t, agenttest.WithSecond)
	w.PutVM("a", 1<<20)
	first := w.Point("a", record.Full)
	other := w.Wait(w.Ask("a", "second").ID)
	again := func(pause bool) {
		t.Helper()
		forget(w)
		if pause {
			db, err := store.Open(filepath.Join(w.Config.Agent.StateDirectory, "agent.db"), store.Options{})
			agenttest.Must(t, err)
			_, _, err = db.Pause(record.Pause{Repository: "main", Since: other.CreatedAt})
			agenttest.Must(t, err)
			agenttest.Must(t, db.Close())
		}
		w.Start()
		w.Eventually("the other repository is imported", func() bool { return slices.Equal(onRecord(w), []string{other.ID}) })
		if s := w.Agent.Catalog.State("main"); s.Imported != nil {
			t.Errorf("%+v", s)
		}
	}
	w.SetStuck("main", true)
	again(false)
	w.SetStuck("main", false)
	imports(w, first, other)
	again(true)
	_, err := w.Agent.ResumeRepository(t.Context(), "main")
	agenttest.Must(t, err)
	imports(w, first, other)
}

// TestImportIsContinued: an import that was interrupted goes on, although something of the repository is on record by then.
func TestImportIsContinued(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("a", 1<<20)
	w.PutVM("b", 1<<20)
	points := []record.Backup{w.Point("a", record.Full), w.Point("b", record.Full)}
	forget(w)
	db, err := store.Open(filepath.Join(w.Config.Agent.StateDirectory, "agent.db"), store.Options{})
	agenttest.Must(t, err)
	agenttest.Must(t, db.BeginImport("main"))
	if added, err := db.Import(points[0]); err != nil || !added {
		t.Fatal(err)
	}
	agenttest.Must(t, db.Close())
	w.Start()
	if s := imports(w, points...); s.Imported.Points != 1 || s.Imported.VMs != 2 || s.Waiting {
		t.Errorf("%+v", s)
	}
	_, err = w.Agent.Records.Backup(points[1].ID)
	agenttest.Must(t, err)
}

// TestNoImportIntoOlderDatabase: if the catalog has something of a repository, the rest is named and a person decides.
func TestNoImportIntoOlderDatabase(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("a", 1<<20)
	points := []record.Backup{w.Point("a", record.Full), w.Point("a", record.Full)}
	forget(w)
	db, err := store.Open(filepath.Join(w.Config.Agent.StateDirectory, "agent.db"), store.Options{})
	agenttest.Must(t, err)
	if added, err := db.Import(points[0]); err != nil || !added {
		t.Fatal(err)
	}
	agenttest.Must(t, db.Close())
	w.Start()
	w.Eventually("it is compared", func() bool { return !w.Agent.Catalog.State("main").At.IsZero() })
	if s := w.Agent.Catalog.State("main"); s.Unrecorded != 1 || s.Imported != nil || s.Waiting {
		t.Errorf("%+v", s)
	}
	if _, err := w.Agent.Records.Backup(points[1].ID); err == nil || !fault.From(err).Has(fault.BackupNotFound) {
		t.Errorf("it is on record: %v", err)
	}
	if list := w.DoctorSays("records"); !strings.Contains(list[len(list)-1].Hint, "sendense-agent rebuild") {
		t.Errorf("%+v", list)
	}
	agenttest.Must(t, os.RemoveAll(points[1].Directory))
}
