package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/store"
)

// TestDatabaseHeader: a damaged header page and a damaged database that is kept are warnings that say what to do.
func TestDatabaseHeader(t *testing.T) {
	h := &host{config: config.Default()}
	h.config.Agent.StateDirectory = filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(h.config.Agent.StateDirectory, 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(h.databasePath(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	expect := func(found []Finding, status Status, words string) {
		t.Helper()
		last := found[len(found)-1]
		if last.Status != status || !strings.Contains(last.Message, words) || status != OK && last.Hint == "" {
			t.Errorf("%+v", found)
		}
	}
	expect(h.database(t.Context()), OK, "sound")
	expect(h.stateDirectory(t.Context()), OK, "private")
	file, err := os.OpenFile(h.databasePath(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	expect(h.database(t.Context()), Warning, "header pages is damaged")
	if db, err = store.Open(h.databasePath(), store.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	expect(h.database(t.Context()), OK, "sound")
	expect(h.stateDirectory(t.Context()), Warning, "kept here")
	if err := os.Remove(db.Recovery().Aside); err != nil {
		t.Fatal(err)
	}
	expect(h.stateDirectory(t.Context()), OK, "private")
}
