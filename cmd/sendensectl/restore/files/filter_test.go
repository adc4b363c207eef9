package files

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendensectl/restore/destination"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/tarfilter"
	"github.com/sendense/backup-agent/rpc/guestfiles"
)

// hostileTar is an archive as a hostile disk could produce it.
func hostileTar(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(kind byte, name, link, content string, mode int64) {
		h := &tar.Header{Typeflag: kind, Name: name, Linkname: link, Size: int64(len(content)), Mode: mode}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, content)
	}
	add(tar.TypeDir, "./", "", "", 0o755)
	add(tar.TypeReg, "./fine", "", "content", 0o6755)
	add(tar.TypeReg, "../escaped", "", "x", 0o644)
	add(tar.TypeReg, "/escaped", "", "x", 0o644)
	add(tar.TypeReg, "./a/../../escaped", "", "x", 0o644)
	add(tar.TypeSymlink, "./out", "..", "", 0o777)
	add(tar.TypeReg, "./out/escaped", "", "x", 0o644)
	add(tar.TypeSymlink, "./in", "dir", "", 0o777)
	add(tar.TypeDir, "./dir", "", "", 0o555)
	add(tar.TypeReg, "./in/redirected", "", "x", 0o644)
	add(tar.TypeReg, "./dir/file", "", "in it", 0o444)
	add(tar.TypeReg, "./fine", "", "a second time", 0o644)
	add(tar.TypeReg, "./out", "", "in place of a link", 0o644)
	add(tar.TypeLink, "./stolen", "../../etc/passwd", "", 0o644)
	add(tar.TypeLink, "./linked", "./out", "", 0o644)
	add(tar.TypeLink, "./second", "./fine", "", 0o644)
	add(tar.TypeChar, "./device", "", "", 0o666)
	add(tar.TypeFifo, "./fifo", "", "", 0o666)
	add(tar.TypeReg, "./orphan/below", "", "parents that were not named", 0o644)
	add(tar.TypeReg, "./hole", "", strings.Repeat("\x00", 1<<20)+"end", 0o644)
	add(tar.TypeReg, "./\x1b[31mred\n", "", "odd", 0o644)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var whatIsFine = map[string]string{
	"fine": "content", "dir/file": "in it", "second": "content", "orphan/below": "parents that were not named",
	"hole": strings.Repeat("\x00", 1<<20) + "end", "\x1b[31mred\n": "odd",
}

// TestFilterToDirectory: nothing is written outside of the copy, over a file or through a link. Everything else is copied.
func TestFilterToDirectory(t *testing.T) {
	dir := t.TempDir()
	p, err := destination.FindFiles(filepath.Join(dir, "copy"), "/x")
	if err != nil {
		t.Fatal(err)
	}
	f := fileCopy{Path: "/x"}
	err = f.toDestination(p, bytes.NewReader(hostileTar(t)), guestfiles.Entry{Mode: guestfiles.ModeDir})
	if !errors.Is(err, tarfilter.ErrRefused) || f.Refused != 9 || f.LeftOut != 2 {
		t.Errorf("%v: %+v", err, f)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("beside the copy: %v", entries)
	}
	for name, content := range whatIsFine {
		if got, err := os.ReadFile(filepath.Join(dir, "copy", name)); err != nil || string(got) != content {
			t.Errorf("%q holds %.40q, %v", name, got, err)
		}
	}
	info, err := os.Lstat(filepath.Join(dir, "copy", "fine"))
	if err != nil || info.Mode()&(os.ModeSetuid|os.ModeSetgid|os.ModeSticky) != 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(dir, "copy", "dir")); err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.Chmod(filepath.Join(dir, "copy", "dir"), 0o755); err != nil {
		t.Error(err)
	}
	if found := find(t, dir, "escaped"); len(found) > 0 || len(find(t, dir, "redirected")) > 0 || len(find(t, dir, "stolen")) > 0 {
		t.Errorf("%q", found)
	}
}

func find(t *testing.T, dir, name string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if filepath.Base(path) == name {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

// TestFilterToArchive: the archive on the standard output is safe to unpack.
func TestFilterToArchive(t *testing.T) {
	var out bytes.Buffer
	f := fileCopy{Path: "/x"}
	if err := f.toStream(&out, bytes.NewReader(hostileTar(t)), guestfiles.Entry{Mode: guestfiles.ModeDir}); !errors.Is(err, tarfilter.ErrRefused) {
		t.Errorf("%v", err)
	}
	r := tar.NewReader(&out)
	links := map[string]bool{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !filepath.IsLocal(h.Name) || h.Mode&^0o777 != 0 || h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeFifo {
			t.Errorf("%+v", h)
		}
		if links[filepath.Dir(h.Name)] {
			t.Errorf("%s lies behind a link", h.Name)
		}
		if links[filepath.Clean(h.Name)] = h.Typeflag == tar.TypeSymlink; h.Typeflag == tar.TypeLink && !filepath.IsLocal(h.Linkname) {
			t.Errorf("%+v", h)
		}
	}
}

// TestCutOff: an incomplete copy gets no name.
func TestCutOff(t *testing.T) {
	whole := hostileTar(t)
	for _, n := range []int{0, 100, 700, len(whole) / 2} {
		dir := t.TempDir()
		p, err := destination.FindFiles(dir, "/etc")
		if err != nil {
			t.Fatal(err)
		}
		f := fileCopy{Path: "/etc"}
		from := io.MultiReader(bytes.NewReader(whole[:n]), broken{})
		if err := errors.Join(f.toDestination(p, from, guestfiles.Entry{Mode: guestfiles.ModeDir})); err == nil || errors.Is(err, tarfilter.ErrRefused) {
			t.Errorf("%d: %v", n, err)
		}
		f = fileCopy{Path: "/etc"}
		from = io.MultiReader(bytes.NewReader(whole[:n]), broken{})
		if err := f.toDestination(p, from, guestfiles.Entry{Mode: guestfiles.ModeRegular, SizeBytes: int64(n)}); !errors.Is(err, guestfiles.ErrEnded) {
			t.Errorf("%d: %v", n, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "etc")); !os.IsNotExist(err) {
			t.Errorf("%d: %v", n, err)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) {
	return 0, errors.Join(guestfiles.ErrEnded, io.ErrUnexpectedEOF)
}

// TestFindFiles: nothing that exists is replaced.
func TestFindFiles(t *testing.T) {
	dir := t.TempDir()
	for name, err := range map[string]error{
		"file": os.WriteFile(filepath.Join(dir, "file"), nil, 0o600), "link": os.Symlink("nowhere", filepath.Join(dir, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
		if p, err := destination.FindFiles(filepath.Join(dir, name), "/x"); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
		if p, err := destination.FindFiles(dir, "/etc/"+name); err == nil {
			t.Errorf("%s in %s: %+v", name, dir, p)
		}
	}
	for _, bad := range [][2]string{{dir, "/"}, {dir + "/no/file", "/x"}, {dir + "/file/x", "/x"}} {
		if p, err := destination.FindFiles(bad[0], bad[1]); err == nil {
			t.Errorf("%q: %+v", bad, p)
		}
	}
	if p, err := destination.FindFiles(dir, "/etc/hosts"); err != nil || p.Path != filepath.Join(dir, "hosts") {
		t.Errorf("%+v, %v", p, err)
	}
}
