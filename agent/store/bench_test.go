package store

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// withRecords opens a database that holds n ended backups of a hundred VMs.
func withRecords(b *testing.B, n int) *Store {
	b.Helper()
	s, err := Open(filepath.Join(b.TempDir(), "agent.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	for done := 0; done < n; {
		err := s.file.Update(func(t *dbfile.Tx) error {
			for range min(n-done, 5000) {
				r := record.Backup{
					ID: fmt.Sprintf("backup-vm%d-%d", done%100, done), VM: vmOf(fmt.Sprint("vm", done%100), 2),
					Repository: "local", State: record.Completed, Runs: make([]record.DiskRun, 2),
					CreatedAt: start.Add(time.Duration(done) * time.Second),
				}
				if err := schema.Index(t, nil, &r); err != nil {
					return err
				}
				if err := schema.Put(t, schema.BucketBackups, []byte(r.ID), r); err != nil {
					return err
				}
				done++
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return s
}

var sizes = []int{0, 1000, 100_000}

func BenchmarkPrepare(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := withRecords(b, n)
			now := start.AddDate(10, 0, 0)
			for b.Loop() {
				now = now.Add(time.Minute)
				r := mustPrepare(b, s, vmOf("vm1", 2), now)
				b.StopTimer()
				fail(b, s, r)
				b.StartTimer()
			}
		})
	}
}

func BenchmarkPage(b *testing.B) {
	for name, q := range map[string]query.Query{
		"all": {}, "vm": {VMName: "vm1"}, "state": {State: record.Completed}, "both": {VMName: "vm1", State: record.Completed},
	} {
		for _, n := range sizes[1:] {
			b.Run(fmt.Sprint(name, "/", n), func(b *testing.B) {
				s := withRecords(b, n)
				q.Limit = 10
				_, q.Cursor, _ = s.Backups(q) // the newest ten
				for b.Loop() {
					if page, _, err := s.Backups(q); err != nil || (n > 0 && len(page) == 0) {
						b.Fatal(len(page), err)
					}
				}
			})
		}
	}
}

func BenchmarkLatestCompleted(b *testing.B) {
	for _, n := range sizes[1:] {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := withRecords(b, n)
			for b.Loop() {
				if _, found, err := s.LatestCompleted("vm1", "local"); !found || err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCheck is what a start of the daemon costs that reads the whole database.
func BenchmarkCheck(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := withRecords(b, n)
			for b.Loop() {
				if err := s.Check(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(s.SizeBytes())/(1<<20), "MiB")
		})
	}
}

// What vm list and status read: 300 VMs of 9 or 90 restore points each must take the same time.
func BenchmarkLatestOf(b *testing.B) {
	for _, points := range []int{9, 90} {
		b.Run(fmt.Sprint(points), func(b *testing.B) {
			s := withRecords(b, 100*points)
			var names []string
			for i := range 300 {
				names = append(names, fmt.Sprint("vm", i%100))
			}
			for b.Loop() {
				if list, err := s.LatestOf(names, []string{"local"}, start.AddDate(10, 0, 0)); err != nil || len(list) != len(names) || list[0].Good.ID == "" {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}
