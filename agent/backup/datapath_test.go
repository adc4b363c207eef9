package backup_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// TestDataPathIsTold: when the agent starts, it names each repository that QEMU cannot write in the fastest way, with the reason.
// The manifest says how an image was laid out and written.
func TestDataPathIsTold(t *testing.T) {
	var told agenttest.LockedBuffer
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		slow := filepath.Join(filepath.Dir(c.Repositories[0].Path), "slow")
		agenttest.Must(t, os.Mkdir(slow, 0o755))
		agenttest.Must(t, unix.Mount("ramfs", slow, "ramfs", 0, "")) // it refuses O_DIRECT
		t.Cleanup(func() { _ = unix.Unmount(slow, unix.MNT_DETACH) })
		c.Space = config.Space{} // it does not report free space
		c.Repositories = append(c.Repositories, config.Repository{ID: "slow", Path: slow})
	})
	w.Stop()
	w.Logger = slog.New(slog.NewJSONHandler(&told, nil))
	w.Start()
	w.Eventually("both repositories are told of", func() bool { return strings.Count(told.String(), `"cache":`) == 2 })
	for line := range strings.Lines(told.String()) {
		if !strings.Contains(line, `"cache":`) {
			continue
		}
		var l struct {
			Level      string
			Repository string `json:"repository_id"`
			Cache      string
			Reason     string
		}
		agenttest.Must(t, json.Unmarshal([]byte(line), &l))
		if slow := l.Repository == "slow"; slow != (l.Level == "WARN") || slow != strings.Contains(l.Reason, "O_DIRECT") || slow != (l.Cache == "writeback") {
			t.Errorf("told: %s", line)
		}
	}
	w.PutVM("layout", 8<<20)
	for _, want := range []struct {
		kind  record.Type
		disk  manifest.Disk
		where string
	}{
		{record.Full, manifest.Disk{ClusterBytes: qemu.FullClusterBytes, ExtendedL2: true}, "slow"},
		{record.Incremental, manifest.Disk{ClusterBytes: 64 << 10}, "slow"},
		{record.Full, manifest.Disk{ClusterBytes: qemu.FullClusterBytes, ExtendedL2: true}, "main"},
	} {
		b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "layout", Type: want.kind, Repository: want.where})
		agenttest.Must(t, err)
		if b = w.Wait(b.ID); b.State != record.Completed {
			t.Fatalf("%s: %+v", b.State, b.Failure)
		}
		text, err := os.ReadFile(filepath.Join(b.Directory, manifest.FileName))
		agenttest.Must(t, err)
		m, err := manifest.Decode(text)
		agenttest.Must(t, err)
		d := m.Disks[0]
		if d.ClusterBytes != want.disk.ClusterBytes || d.ExtendedL2 != want.disk.ExtendedL2 || (want.where == "slow") != strings.Contains(d.IO, "writeback") {
			t.Errorf("%s in %s: %+v", want.kind, want.where, d)
		}
	}
}
