package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/host"
	"github.com/sendense/backup-agent/cmd/internal/bench/hub"
	"github.com/sendense/backup-agent/rpc"
)

// callsOfRecords is the number of calls for one figure.
const callsOfRecords = 200

// measureRecords measures whether a long history makes requests slower.
func measureRecords(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title:  fmt.Sprintf("A history of %d backups", s.records),
		Method: "The same daemon and requests, with an empty database and with that many ended backups of a hundred VMs, in turns. Milliseconds for one; full / empty.",
		Head:   []string{"request", "ms, empty", "ms, full", "full / empty"},
	}
	dirs := []string{filepath.Join(s.disk, "records-empty"), filepath.Join(s.disk, "records-full")}
	if err := fillDatabase(dirs[1], s.records); err != nil {
		return p, err
	}
	took := figures.Times{}
	for round := range s.rounds + 1 {
		for i, kind := range []string{"empty", "full"} {
			all, err := recordCalls(ctx, s, dirs[i])
			if err != nil {
				return p, fmt.Errorf("%s: %w", kind, err)
			}
			for name, d := range all {
				if round > 0 {
					took[name+kind] = append(took[name+kind], d)
				}
			}
		}
	}
	for _, name := range recordCallNames {
		p.Add(name, took.Of(name+"empty").String(), took.Of(name+"full").String(), took.Ratio(name+"full", name+"empty").String())
	}
	return p, nil
}

// fillDatabase makes a database of ended backups. It makes it in memory, where a commit is cheap, and then copies it.
func fillDatabase(dir string, n int) error {
	for _, sub := range []string{"state", "repository"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	memory := filepath.Join(os.TempDir(), "agent.db")
	db, err := store.Open(memory, store.Options{})
	if err != nil {
		return err
	}
	first := time.Now().AddDate(-1, 0, 0)
	for i := range n {
		vm := fmt.Sprint("old", i%100)
		at := first.Add(time.Duration(i) * time.Minute / 10)
		_, err := db.Import(record.Backup{
			ID: fmt.Sprintf("backup-%s-%d", vm, at.UnixMilli()), Type: record.Full, Repository: "main", State: record.Failed, CreatedAt: at, EndedAt: at,
			VM:      record.VM{Name: vm, Disks: []record.Disk{{CapacityBytes: 1 << 30}}},
			Runs:    make([]record.DiskRun, 1),
			Failure: &record.Failure{Reason: "sna_unreachable", Message: "a failure of old"},
		})
		if err != nil {
			return errors.Join(err, db.Close())
		}
	}
	if err := db.Close(); err != nil {
		return err
	}
	return host.Run(context.Background(), "mv", memory, filepath.Join(dir, "state", "agent.db"))
}

var recordCallNames = []string{
	"start of the daemon, until it answers", "backup.start and its cancellation", "backup.get", "first page of backup.list", "tenth page of backup.list",
}

// recordCalls starts a daemon and measures requests.
func recordCalls(ctx context.Context, s settings, dir string) (took map[string]time.Duration, err error) {
	h, err := hub.New(ctx, s.programs, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	if err := errors.Join(h.Hold(), h.PutVM(ctx, "new", 1, 1<<20), h.Halt()); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := h.Boot(ctx); err != nil {
		return nil, err
	}
	took = map[string]time.Duration{recordCallNames[0]: time.Since(began)}
	began = time.Now()
	if _, err := h.TimeStart(ctx, "new", rpc.Full); err != nil {
		return nil, err
	}
	took[recordCallNames[1]] = time.Since(began)
	page, err := h.Client.ListBackups(ctx, rpc.BackupQuery{Limit: 1})
	if err != nil {
		return nil, err
	}
	get := func() error { _, err := h.Client.GetBackup(ctx, page.Backups[0].BackupID); return err }
	list := func(cursor string) func() error {
		return func() error {
			_, err := h.Client.ListBackups(ctx, rpc.BackupQuery{Limit: 1, Cursor: cursor})
			return err
		}
	}
	tenth := page.NextCursor
	for range 8 {
		next, err := h.Client.ListBackups(ctx, rpc.BackupQuery{Limit: 1, Cursor: tenth})
		if err != nil {
			return nil, err
		}
		if next.NextCursor != "" {
			tenth = next.NextCursor
		}
	}
	for i, call := range []func() error{get, list(""), list(tenth)} {
		began := time.Now()
		for range callsOfRecords {
			if err := call(); err != nil {
				return nil, err
			}
		}
		took[recordCallNames[2+i]] = time.Since(began) / callsOfRecords
	}
	return took, nil
}
