package digest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func must(t interface {
	Helper()
	Fatal(...any)
}, err error,
) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mount mounts a file system of a kind: tmpfs has holes, and on older kernels no O_DIRECT.
func mount(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256M"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	return dir
}

func ofFile(t *testing.T, path string, o Options) Digest {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	d, err := OfFile(t.Context(), f, o)
	must(t, err)
	return d
}

// TestIsBLAKE3: other programs compute the same digest. The values are those of BLAKE3's test_vectors.json, whose input repeats the
// bytes 0 to 250.
func TestIsBLAKE3(t *testing.T) {
	for size, want := range map[int]string{
		0:      "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
		1:      "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
		1024:   "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
		102400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
	} {
		input := make([]byte, size)
		for i := range input {
			input[i] = byte(i % 251)
		}
		path := filepath.Join(t.TempDir(), "image")
		must(t, os.WriteFile(path, input, 0o600))
		if d := ofFile(t, path, Options{}); d.Value != want || d.Bytes != int64(size) || Of(input) != d {
			t.Errorf("%d bytes: got %v, want %s", size, d, want)
		}
	}
}

// TestHolesAreZeroes: the digest is that of the bytes, whatever of the file is a hole, and on every file system.
func TestHolesAreZeroes(t *testing.T) {
	dirs := []string{t.TempDir(), mount(t)}
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(0, chunkBytes+1<<20).Draw(t, "size")
		content := make([]byte, size)
		paths := []string{filepath.Join(dirs[0], "sparse"), filepath.Join(dirs[1], "sparse")}
		var files []*os.File
		for _, path := range paths {
			f, err := os.Create(path)
			must(t, err)
			defer f.Close()
			must(t, f.Truncate(size))
			files = append(files, f)
		}
		random := rand.NewChaCha8([32]byte{rapid.Byte().Draw(t, "seed")})
		for range rapid.IntRange(0, 6).Draw(t, "writes") {
			if size == 0 {
				break
			}
			at := rapid.Int64Range(0, size-1).Draw(t, "at")
			length := min(rapid.Int64Range(1, 2<<20).Draw(t, "length"), size-at)
			if rapid.Bool().Draw(t, "data") {
				_, err := random.Read(content[at : at+length])
				must(t, err)
			} else {
				clear(content[at : at+length]) // zeroes that are written are no hole
			}
			for _, f := range files {
				_, err := f.WriteAt(content[at:at+length], at)
				must(t, err)
			}
		}
		for _, f := range files {
			counted := int64(0)
			d, err := OfFile(context.Background(), f, Options{Progress: func(n, _ int64) { counted += n }})
			must(t, err)
			if d != Of(content) || counted != size {
				t.Fatalf("%s: got %v of %d bytes, want %v", f.Name(), d, counted, Of(content))
			}
		}
	})
}

// TestHolesAreNotRead: holes are not read from the disk.
func TestHolesAreNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(2<<30))
	_, err = f.WriteAt([]byte("data"), 1<<30)
	must(t, err)
	must(t, f.Sync())
	before := readByUs(t)
	ofFile(t, path, Options{})
	if read := readByUs(t) - before; read > 1<<20 {
		t.Errorf("%d bytes were read of a file with one block of data", read)
	}
}

// readByUs is how much this process has read, from a disk or a cache.
func readByUs(t *testing.T) (n int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	must(t, err)
	var v [5]int64
	_, err = fmt.Sscanf(string(text), "rchar: %d\nwchar: %d\nsyscr: %d\nsyscw: %d\nread_bytes: %d\n", &v[0], &v[1], &v[2], &v[3], &v[4])
	must(t, err)
	return v[0]
}

// TestPageCacheIsLeftAlone: images do not fill the page cache.
func TestPageCacheIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	content := make([]byte, 32<<20)
	for i := range content {
		content[i] = byte(i >> 8)
	}
	must(t, os.WriteFile(path, content, 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	must(t, f.Sync())
	must(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	ofFile(t, path, Options{})
	if n := resident(t, f, len(content)); n > 1<<20 {
		t.Errorf("%d bytes of the file are in the page cache", n)
	}
}

// resident counts the bytes of a file that are in the page cache.
func resident(t *testing.T, f *os.File, size int) (n int) {
	t.Helper()
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	must(t, err)
	defer unix.Munmap(m) //nolint:errcheck // only read
	pages := make([]byte, size/os.Getpagesize())
	must(t, mincore(m, pages))
	for _, p := range pages {
		n += int(p&1) * os.Getpagesize()
	}
	return n
}

// TestFlippedBit: a changed bit anywhere changes the digest.
func TestFlippedBit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	content := make([]byte, 1<<20)
	must(t, os.WriteFile(path, content, 0o600))
	was := ofFile(t, path, Options{})
	for range 20 {
		at := rand.N(len(content))
		content[at] ^= 1 << rand.N(8)
		must(t, os.WriteFile(path, content, 0o600))
		now := ofFile(t, path, Options{})
		if err := was.Compare(now); !errors.Is(err, ErrDiffers) {
			t.Errorf("a bit of byte %d was flipped: %v", at, err)
		}
		content[at] = 0
	}
	must(t, os.WriteFile(path, content, 0o600))
	must(t, was.Compare(ofFile(t, path, Options{})))
	must(t, os.Truncate(path, 100))
	if err := was.Compare(ofFile(t, path, Options{})); !errors.Is(err, ErrDiffers) {
		t.Errorf("cut short: %v", err)
	}
}

// TestLimit: data is read at the limit, and holes do not count.
func TestLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(path, make([]byte, 12<<20), 0o600))
	must(t, os.Truncate(path, 1<<30))
	start := time.Now()
	ofFile(t, path, Options{Limit: Limit(16 << 20)}) // 4 MiB at once, then 8 MiB at 16 MiB/s
	if took := time.Since(start); took < 500*time.Millisecond {
		t.Errorf("12 MiB at 16 MiB/s took %s", took)
	}
}

// TestEnded: a read ends with its context, in the middle of a file and while it waits for the limiter, and says why.
func TestEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(path, make([]byte, 64<<20), 0o600))
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	why := errors.New("why")
	for name, o := range map[string]Options{"running": {}, "limited": {Limit: Limit(1 << 20)}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		o.Progress = func(_, _ int64) { cancel(why) }
		if _, err := OfFile(ctx, f, o); !errors.Is(err, why) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestChangesMeanwhile: a file that changes while it is read has no digest.
func TestChangesMeanwhile(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"shrinks": func(path string) error { return os.Truncate(path, 100) },
		"grows":   func(path string) error { return os.Truncate(path, 1<<30) },
		"is written": func(path string) error {
			return os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			must(t, os.WriteFile(path, make([]byte, 32<<20), 0o600))
			f, err := os.Open(path)
			must(t, err)
			defer f.Close()
			var changed error
			_, err = OfFile(t.Context(), f, Options{Progress: func(_, _ int64) { changed = errors.Join(changed, change(path)) }})
			must(t, changed)
			if !errors.Is(err, ErrChanged) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	good := Of(nil)
	must(t, good.Validate())
	for name, change := range map[string]func(*Digest){
		"algorithm": func(d *Digest) { d.Algorithm = "md5" },
		"short":     func(d *Digest) { d.Value = d.Value[2:] },
		"not hex":   func(d *Digest) { d.Value = "x" + d.Value[1:] },
		"capitals":  func(d *Digest) { d.Value = "A" + d.Value[1:] },
		"negative":  func(d *Digest) { d.Bytes = -1 },
	} {
		d := good
		if change(&d); d.Validate() == nil {
			t.Errorf("%s: %+v passes", name, d)
		}
	}
	if err := good.Compare(Digest{Algorithm: "other", Value: good.Value}); err == nil || errors.Is(err, ErrDiffers) {
		t.Errorf("digests of two algorithms: %v", err)
	}
}
