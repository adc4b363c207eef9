package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/schema"
)

const sectorBytes = 512

// A history is a database file, and what is on record after its last two transactions.
type history struct {
	file                []byte
	last, lastButOne    string
	pageSize, newestTxn int
}

// newest is the page that describes the last transaction.
func (h history) newest() int { return h.newestTxn % 2 }

// histories are two files, of which one has the description of its last transaction on the first page and one on the second.
func histories(t testing.TB, pageSize int) (list []history) {
	t.Helper()
	for extra := range 2 {
		path := filepath.Join(t.TempDir(), "agent.db")
		must(t, os.WriteFile(path, nil, 0o600))
		db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: pageSize})
		must(t, err)
		must(t, db.Update(func(t *bolt.Tx) error { return schema.Migrate(t, 0, schema.Migrations) }))
		must(t, db.Close())
		s, err := Open(path, Options{NoSync: true})
		must(t, err)
		for i := range 8 + extra {
			b := prepare(t, s, i)
			if i%2 == 0 {
				step(t, s, b, toCompleted...)
			}
		}
		h := history{pageSize: pageSize, lastButOne: onRecord(t, s)}
		_, err = s.PutVM(vmOf("newest", 2))
		must(t, err)
		h.last, h.newestTxn = onRecord(t, s), s.file.LastTransaction()
		must(t, s.Check(t.Context()))
		must(t, s.Close())
		h.file, err = os.ReadFile(path)
		must(t, err)
		list = append(list, h)
	}
	if list[0].newest() == list[1].newest() {
		t.Fatal("the last transactions of both files are on the same page")
	}
	return list
}

func prepare(t testing.TB, s *Store, i int) record.Backup {
	t.Helper()
	p := preparation(vmOf(fmt.Sprint("vm", i), 1), start.Add(time.Duration(i)*time.Minute))
	_, err := s.PutVM(p.Backup.VM)
	must(t, err)
	b, _, err := s.Prepare(p)
	must(t, err)
	return b
}

// onRecord is everything on record but what cools down.
func onRecord(t testing.TB, s *Store) string {
	t.Helper()
	backups, _, err := s.Backups(query.Query{Limit: query.MaxPage})
	must(t, err)
	vms, _, err := s.VMs("", query.MaxPage)
	must(t, err)
	leases, err := s.Leases()
	must(t, err)
	text, err := json.Marshal([]any{backups, vms, leases})
	must(t, err)
	return string(text)
}

// opened opens a file with the content, and returns what is on record and what had to be done. It fails the test unless the file is
// sound then and stays it, and is kept as it was when it was not.
func opened(t testing.TB, data []byte) (record string, r *Recovery, err error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "agent.db")
	must(t, os.WriteFile(path, data, 0o600))
	s, err := Open(path, Options{Timeout: time.Second, Cooldown: time.Hour})
	if err != nil {
		left, readErr := os.ReadFile(path)
		if names, _ := filepath.Glob(filepath.Join(dir, "*")); readErr != nil || len(names) != 1 || !bytes.Equal(left, data) {
			t.Errorf("the file was changed or has company: %v, %v", names, readErr)
		}
		return "", nil, err
	}
	r, record = s.Recovery(), onRecord(t, s)
	if err := s.Check(context.Background()); err != nil {
		t.Errorf("it opens, and then: %v", err)
	}
	if r != nil {
		if kept, err := os.ReadFile(r.Aside); err != nil || !bytes.Equal(kept, data) {
			t.Errorf("the damaged file was not kept: %v", err)
		}
	}
	if rebuilt, err := s.Rebuilt(); err != nil || rebuilt != (r != nil && r.LostChange) {
		t.Errorf("the mark is %v, recovery %+v, error %v", rebuilt, r, err)
	}
	must(t, s.Close())
	s, err = Open(path, Options{})
	must(t, err)
	if again := s.Recovery(); again != nil || onRecord(t, s) != record {
		t.Errorf("the second time it is another: %+v", again)
	}
	must(t, s.Close())
	return record, r, nil
}

// Of bbolt's header pages: a page's own header, and what follows it.
const (
	pageHeaderBytes = 16
	metaBytes       = 64
)

// TestDamagedSector: whichever sector of the two header pages is lost, and however, the file opens with what the last transaction
// left, or the last but one when it was the last one's own; and it says so.
func TestDamagedSector(t *testing.T) {
	harms := map[string]func(sector []byte){
		"zeroed":  func(b []byte) { clear(b) },
		"ones":    func(b []byte) { copy(b, bytes.Repeat([]byte{0xff}, len(b))) },
		"a bit":   func(b []byte) { b[pageHeaderBytes+17] ^= 4 },
		"torn":    func(b []byte) { clear(b[pageHeaderBytes+metaBytes/2:]) },
		"no name": func(b []byte) { b[0] ^= 0x40 },
		"no kind": func(b []byte) { b[8] ^= 0xff },
	}
	for _, h := range append(histories(t, 4096), histories(t, 16384)...) {
		for sector := range 2 * h.pageSize / sectorBytes {
			for name, harm := range harms {
				if sector*sectorBytes%h.pageSize > sectorBytes && name != "zeroed" {
					continue // there is nothing in them, which takes no six trials
				}
				data := bytes.Clone(h.file)
				harm(data[sector*sectorBytes:][:sectorBytes])
				what := fmt.Sprintf("pages of %d bytes, transaction %d, sector %d, %s", h.pageSize, h.newestTxn, sector, name)
				record, r, err := opened(t, data)
				if err != nil {
					t.Errorf("%s: %v", what, err)
					continue
				}
				page, first := sector*sectorBytes/h.pageSize, sector*sectorBytes%h.pageSize == 0
				lost := first && !strings.HasPrefix(name, "no ")
				want := h.last
				if lost && page == h.newest() {
					want = h.lastButOne
				}
				if record != want || (r != nil) != first || r != nil && r.LostChange != lost {
					t.Errorf("%s: recovery %+v, the right record: %v", what, r, record == want)
				}
			}
		}
	}
}

// TestDamagedTwice: when both descriptions are gone, or what the other one describes, the file is damaged, and left as it is.
func TestDamagedTwice(t *testing.T) {
	for _, h := range histories(t, 4096) {
		harmed := func(f func(data []byte) []byte) []byte {
			data := bytes.Clone(h.file)
			clear(data[h.newest()*h.pageSize:][:h.pageSize])
			return f(data)
		}
		state := h.file[(1-h.newest())*h.pageSize+pageHeaderBytes:] // what the other header page describes: bbolt's meta
		root, freelist, high := binary.NativeEndian.Uint64(state[16:]), binary.NativeEndian.Uint64(state[32:]), binary.NativeEndian.Uint64(state[40:])
		for name, data := range map[string][]byte{
			"both zeroed":       harmed(func(b []byte) []byte { clear(b[:2*h.pageSize]); return b }),
			"both torn":         harmed(func(b []byte) []byte { clear(b[(1-h.newest())*h.pageSize+56:][:8]); return b }),
			"and the freelist":  harmed(func(b []byte) []byte { clear(b[int(freelist)*h.pageSize:][:h.pageSize]); return b }),
			"and the root":      harmed(func(b []byte) []byte { clear(b[int(root)*h.pageSize:][:h.pageSize]); return b }),
			"and a record":      harmed(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"completed"`), []byte(`"complexed"`)) }),
			"and cut short":     harmed(func(b []byte) []byte { return b[:int(high-1)*h.pageSize] }),
			"and only two left": harmed(func(b []byte) []byte { return b[:2*h.pageSize] }),
		} {
			if _, _, err := opened(t, data); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "agent.db") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestSecondCopy: what was committed twice is on record, whichever header page is lost.
func TestSecondCopy(t *testing.T) {
	for extra := range 2 {
		path := filepath.Join(t.TempDir(), "agent.db")
		s, err := Open(path, Options{})
		must(t, err)
		b := prepare(t, s, 0)
		for range extra {
			must(t, s.SecondCopy())
		}
		step(t, s, b, record.Exporting, record.Calling)
		must(t, s.SecondCopy())
		must(t, s.Close())
		whole, err := os.ReadFile(path)
		must(t, err)
		for page := range 2 {
			data := bytes.Clone(whole)
			clear(data[page*os.Getpagesize():][:os.Getpagesize()])
			record, r, err := opened(t, data)
			if err != nil || r == nil || !strings.Contains(record, `"state":"calling"`) {
				t.Errorf("page %d: %+v, %v: %s", page, r, err, record)
			}
		}
	}
}

// TestRecoveryCoolsDown: after a recovery every VM without an active backup cools down, as after the loss of the database.
func TestRecoveryCoolsDown(t *testing.T) {
	h := histories(t, 4096)[0]
	data := bytes.Clone(h.file)
	clear(data[:h.pageSize])
	path := filepath.Join(t.TempDir(), "agent.db")
	must(t, os.WriteFile(path, data, 0o600))
	before := time.Now()
	s, err := Open(path, Options{Cooldown: time.Hour})
	must(t, err)
	defer s.Close()
	_, list, err := s.Cooling(before)
	must(t, err)
	cooling := map[string]bool{}
	for _, c := range list {
		cooling[c.Name] = c.BackupID == schema.UnknownBackup && c.Until.After(before.Add(time.Hour-time.Minute))
	}
	vms, _, err := s.VMs("", query.MaxPage)
	must(t, err)
	active, err := s.Active()
	must(t, err)
	busy := map[string]bool{}
	for _, b := range active {
		busy[b.VM.Name] = true
	}
	if len(vms) == 0 || len(busy) == 0 {
		t.Fatal("there is nothing to compare")
	}
	for _, vm := range vms {
		if cooling[vm.Name] == busy[vm.Name] {
			t.Errorf("vm %s: cools down %v, has a backup %v", vm.Name, cooling[vm.Name], busy[vm.Name])
		}
	}
}

// TestHeaderLostBeneath: a header page that is damaged while the database is open takes nothing back in silence.
func TestHeaderLostBeneath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	s, err := Open(path, Options{})
	must(t, err)
	b := prepare(t, s, 0)
	step(t, s, b, record.Exporting)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(make([]byte, 512), int64(s.file.LastTransaction())%2*int64(os.Getpagesize()))
	must(t, errors.Join(err, f.Close()))
	if _, err := s.Backup(b.ID); !errors.Is(err, ErrDamaged) {
		t.Errorf("it is read all the same: %v", err)
	}
	if _, err := s.PutVM(vmOf("x", 1)); !errors.Is(err, ErrDamaged) {
		t.Errorf("it is written all the same: %v", err)
	}
	must(t, s.Close())
	s, err = Open(path, Options{})
	must(t, err)
	defer s.Close()
	if got, err := s.Backup(b.ID); err != nil || got.State != record.Preparing || s.Recovery() == nil || !s.Recovery().LostChange {
		t.Errorf("opened again it is %s, %v, %+v", got.State, err, s.Recovery())
	}
}

// TestInspectHeader: Inspect tells of it and changes nothing.
func TestInspectHeader(t *testing.T) {
	for _, h := range histories(t, 4096) {
		for page := range 2 {
			data := bytes.Clone(h.file)
			clear(data[page*h.pageSize:][:h.pageSize])
			path := filepath.Join(t.TempDir(), "agent.db")
			must(t, os.WriteFile(path, data, 0o400))
			found, err := Inspect(t.Context(), path, time.Second, 1<<30)
			if err != nil || !found.HeaderDamaged || !found.Whole {
				t.Errorf("page %d: %+v, %v", page, found, err)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, data) {
				t.Errorf("the file was changed, %v", err)
			}
		}
	}
}

// FuzzHeaderPages overwrites something in the two header pages. The file opens with what one of the last two transactions left, or
// both of its descriptions are gone; it ends no process.
func FuzzHeaderPages(f *testing.F) {
	h := histories(f, 4096)[0]
	for _, offset := range []int{0, 8, 16, 24, 32, 48, 64, 72, 80, 511, 4095} {
		f.Add(offset, []byte{0}, 0, []byte{})
		f.Add(4096+offset, []byte{0xff, 0xff, 0xff, 0xff}, offset, []byte{1})
	}
	f.Add(0, make([]byte, 8192), 0, []byte{})
	f.Fuzz(func(t *testing.T, offset int, patch []byte, second int, more []byte) {
		data, harmed := bytes.Clone(h.file), map[int]bool{}
		for at, b := range map[int][]byte{offset: patch, second: more} {
			if at >= 0 && at < 2*h.pageSize {
				copy(data[at:2*h.pageSize], b)
			}
		}
		for page := range 2 {
			from := page*h.pageSize + pageHeaderBytes
			harmed[page] = !bytes.Equal(data[from:from+metaBytes], h.file[from:from+metaBytes])
		}
		record, r, err := opened(t, data)
		switch {
		case harmed[0] && harmed[1]:
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("both are gone: %v", err)
			}
		case err != nil:
			t.Error(err)
		case harmed[h.newest()] && (record != h.lastButOne || r == nil || !r.LostChange):
			t.Errorf("the newest is gone: %+v", r)
		case !harmed[h.newest()] && record != h.last:
			t.Errorf("the newest is there, and it is not what is on record: %+v", r)
		}
	})
}
