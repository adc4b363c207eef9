package qemu

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sendense/backup-agent/nbd/qcow2"
)

func owner(t testing.TB, path string) uint32 {
	t.Helper()
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return stat.Sys().(*syscall.Stat_t).Uid
}

func TestCreateAndInfo(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	full := newImage(t, filepath.Join(dir, "full.qcow2"), 8*MiB)
	overlay := ImageSpec{Path: filepath.Join(dir, "overlay.qcow2"), SizeBytes: 16 * MiB, BackingFile: "full.qcow2"}
	if err := (Tools{}).Create(ctx, overlay); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]qcow2.Info{
		full:         {VirtualBytes: 8 * MiB, ClusterBytes: MiB, ExtendedL2: true},
		overlay.Path: {VirtualBytes: 16 * MiB, ClusterBytes: 64 << 10, BackingFile: "full.qcow2", BackingFormat: "qcow2"},
	} {
		got, err := (Tools{}).Info(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(qcow2.Info{}, "ActualBytes")); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		if stat, err := os.Stat(path); err != nil || stat.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %s, %v", path, stat.Mode(), err)
		}
		if result, err := (Tools{}).Check(ctx, path); err != nil || result.Leaks != 0 {
			t.Errorf("%+v, %v", result, err)
		}
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	dir := tempDir(t)
	path := filepath.Join(dir, "a.qcow2")
	nowhere := filepath.Join(dir, "nowhere")
	for name, occupy := range map[string]func() error{
		"file":             func() error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"empty file":       func() error { return os.WriteFile(path, nil, 0o600) },
		"directory":        func() error { return os.Mkdir(path, 0o700) },
		"dangling link":    func() error { return os.Symlink(nowhere, path) },
		"link to precious": func() error { return os.Symlink("/etc/passwd", path) },
	} {
		if err := occupy(); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(path)
		err := (Tools{}).Create(testContext(t), ImageSpec{Path: path, SizeBytes: MiB})
		if !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
		after, err := os.Lstat(path)
		if err != nil || !os.SameFile(before, after) || before.Size() != after.Size() {
			t.Errorf("%s was touched: %v", name, err)
		}
		if _, err := os.Lstat(nowhere); err == nil {
			t.Errorf("%s: the link's target was made", name)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := tempDir(t)
	parent := newImage(t, filepath.Join(dir, "parent.qcow2"), MiB)
	if err := os.WriteFile(filepath.Join(dir, "junk"), []byte(strings.Repeat("x", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	good := ImageSpec{Path: filepath.Join(dir, "a.qcow2"), SizeBytes: MiB}
	for name, spoil := range map[string]func(*ImageSpec){
		"size 0":            func(s *ImageSpec) { s.SizeBytes = 0 },
		"negative size":     func(s *ImageSpec) { s.SizeBytes = -512 },
		"odd size":          func(s *ImageSpec) { s.SizeBytes = MiB + 1 },
		"huge size":         func(s *ImageSpec) { s.SizeBytes = 1<<50 + 512 },
		"too big for qcow2": func(s *ImageSpec) { s.SizeBytes, s.ClusterBytes = 62<<40, 512 }, // refused by qemu-img
		"odd clusters":      func(s *ImageSpec) { s.ClusterBytes = 100_000 },
		"big clusters":      func(s *ImageSpec) { s.ClusterBytes = 4 << 20 },
		"negative clusters": func(s *ImageSpec) { s.ClusterBytes = -65536 },
		"small subclusters": func(s *ImageSpec) { s.ClusterBytes, s.ExtendedL2 = 8<<10, true },
		"relative path":     func(s *ImageSpec) { s.Path = "a.qcow2" },
		"no directory":      func(s *ImageSpec) { s.Path = filepath.Join(dir, "missing/a.qcow2") },
		"absolute parent":   func(s *ImageSpec) { s.BackingFile = parent },
		"unclean parent":    func(s *ImageSpec) { s.BackingFile = "./parent.qcow2" },
		"json parent":       func(s *ImageSpec) { s.BackingFile = `json:{"driver":"null-co"}` },
		"missing parent":    func(s *ImageSpec) { s.BackingFile = "nowhere.qcow2" },
		"junk parent":       func(s *ImageSpec) { s.BackingFile = "junk" },
		"itself":            func(s *ImageSpec) { s.BackingFile = "a.qcow2" },
		"directory parent":  func(s *ImageSpec) { s.BackingFile, s.BackingFormat = "..", "raw" },
		"long parent":       func(s *ImageSpec) { s.BackingFile = strings.Repeat("x/", 600) + "y" },
		"odd format":        func(s *ImageSpec) { s.BackingFile, s.BackingFormat = "parent.qcow2", "vmdk" },
		"lone format":       func(s *ImageSpec) { s.BackingFormat = "qcow2" },
	} {
		spec := good
		spoil(&spec)
		if err := (Tools{}).Create(testContext(t), spec); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := os.Lstat(good.Path); err == nil {
			t.Fatalf("%s: left a file", name)
		}
	}
}

func TestCreateStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(tempDir(t), "a.qcow2")
	err := (Tools{}).Create(ctx, ImageSpec{Path: path, SizeBytes: MiB})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left a file: %v", err)
	}
}

func TestAsAnotherUser(t *testing.T) {
	ctx, dir, tools := testContext(t), tempDir(t), Tools{Credential: otherUser()}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.qcow2")
	if err := tools.Create(ctx, ImageSpec{Path: path, SizeBytes: MiB}); err != nil {
		t.Fatal(err)
	}
	if got := owner(t, path); got != tools.Credential.Uid {
		t.Errorf("belongs to user %d", got)
	}
	if _, err := tools.Info(path); err != nil {
		t.Error(err)
	}
	if _, err := tools.Check(ctx, path); err != nil {
		t.Error(err)
	}
	if os.Getuid() != 0 {
		return // the other user is the same user: nothing is forbidden
	}
	own := newImage(t, filepath.Join(dir, "own.qcow2"), MiB)
	if _, err := tools.Info(own); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("reads what belongs to root: %v", err)
	}
}
