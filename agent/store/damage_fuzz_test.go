package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// FuzzDamaged overwrites a part of a database and cuts it off. Whatever is wrong with a file is an error that says so: it
// ends no process, and what opens and passes its check can be read from beginning to end.
func FuzzDamaged(f *testing.F) {
	whole := filled(f)
	for page := range len(whole) / 4096 {
		for _, field := range []int{0, 8, 10, 12, 24} { // number, flags, count, further pages; the first element's page
			f.Add(page*4096+field, []byte{0xff, 0xff, 0xff}, len(whole))
		}
	}
	f.Add(0, []byte{}, len(whole))
	path := filepath.Join(f.TempDir(), "agent.db") // of this process: each worker has its own
	f.Fuzz(func(t *testing.T, offset int, patch []byte, size int) {
		data := bytes.Clone(whole)
		if offset >= 0 && offset < len(data) {
			copy(data[offset:], patch)
		}
		if size >= 0 && size < len(data) {
			data = data[:size]
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		defer func() { // what was opened by its second header page is kept each time
			kept, _ := SetAside(path)
			for _, name := range kept {
				_ = os.Remove(name)
			}
		}()
		s, err := Open(path, Options{Timeout: time.Second})
		if err != nil {
			var newer *schema.NewerSchemaError
			if !errors.Is(err, ErrDamaged) && !errors.As(err, &newer) {
				t.Error(err)
			}
			return
		}
		err = s.Check(context.Background())
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
		if errRead := readAll(s); errRead != nil && err == nil {
			t.Errorf("the check found nothing, but: %v", errRead)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// readAll reads every record by the ways in which the agent does.
func readAll(s *Store) error {
	_, errLeases := s.Leases()
	_, errActive := s.Active()
	_, _, errVMs := s.VMs("", query.MaxPage)
	for query := (query.Query{Limit: query.MaxPage}); ; {
		_, next, err := s.Backups(query)
		if err != nil || next == "" {
			return errors.Join(errLeases, errActive, errVMs, err)
		}
		query.Cursor = next
	}
}
