package destination

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTakenMeanwhile: a file that gets the name of a copy during the copy is not replaced.
func TestTakenMeanwhile(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range []string{"file", "empty directory", "link"} {
		to := filepath.Join(dir, kind)
		take := func() error {
			switch kind {
			case "file":
				return os.WriteFile(to, []byte("mine"), 0o600)
			case "link":
				return os.Symlink("nowhere", to)
			}
			return os.Mkdir(to, 0o700)
		}
		p, err := FindFiles(to, "/x")
		if err != nil {
			t.Fatal(err)
		}
		d, err := OpenDisk(t.Context(), to, "raw", false)
		if err != nil {
			t.Fatal(err)
		}
		root, err := p.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := root.Mkdir(Copied, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d.WritePath(), []byte("disk"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := take(); err != nil {
			t.Fatal(err)
		}
		before, err := os.Lstat(to)
		if err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{"files": p.Commit(), "disk": d.Commit()} {
			if err == nil || !strings.Contains(err.Error(), to+" was created meanwhile") {
				t.Errorf("%s in place of a %s: %v", what, kind, err)
			}
		}
		if after, err := os.Lstat(to); err != nil || !os.SameFile(before, after) {
			t.Errorf("the %s is not what it was: %v", kind, err)
		}
		root.Close()
		d.Close()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTargetOfADisk: a dangling link is not replaced, and an empty file only as long as it is empty.
func TestTargetOfADisk(t *testing.T) {
	dir := t.TempDir()
	link, empty := filepath.Join(dir, "link"), filepath.Join(dir, "empty")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	if d, err := OpenDisk(t.Context(), link, "raw", true); err == nil || !strings.Contains(err.Error(), "symbolic link to a missing file") {
		t.Errorf("%+v, %v", d, err)
	}
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		d, err := OpenDisk(t.Context(), empty, "raw", force)
		if err != nil {
			t.Fatal(err)
		}
		for path, content := range map[string]string{d.WritePath(): "disk", empty: "mine"} {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Commit(); (err == nil) != force {
			t.Errorf("force %v: %v", force, err)
		}
		d.Close()
	}
	if got, err := os.ReadFile(empty); err != nil || string(got) != "disk" {
		t.Errorf("%q, %v", got, err)
	}
}
