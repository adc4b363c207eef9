package qemu

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/iomode"
)

// command sends one request with command flags, and returns the server's error.
func command(t testing.TB, c *nbd.Conn, flags, command uint16, at uint64, length uint32) syscall.Errno {
	t.Helper()
	message := binary.BigEndian.AppendUint32(nil, 0x25609513) // proto.md, "Request message"
	message = binary.BigEndian.AppendUint16(message, flags)
	message = binary.BigEndian.AppendUint16(message, command)
	message = binary.BigEndian.AppendUint64(message, at^1<<63) // a cookie
	message = binary.BigEndian.AppendUint64(message, at)
	message = binary.BigEndian.AppendUint32(message, length)
	if _, err := c.Write(message); err != nil {
		t.Fatal(err)
	}
	var reply [16]byte
	if _, err := io.ReadFull(c.Conn, reply[:]); err != nil {
		t.Fatal(err)
	}
	return syscall.Errno(binary.BigEndian.Uint32(reply[4:]))
}

// Command flags (proto.md, "Command flags"), and commands.
const (
	cmdFlagFUA      = 1 << 0
	cmdFlagNoHole   = 1 << 1
	cmdFlagFastZero = 1 << 4
	cmdTrim         = 4
	cmdWriteZeroes  = 6
)

// write writes, and fails the test if that fails.
func (s *server) write(t testing.TB, c *nbd.Conn, at int64, data []byte) {
	t.Helper()
	if _, err := c.WriteAt(data, at); err != nil {
		t.Fatalf("%v: %s", err, s.stderr)
	}
}

// holds compares data of the export.
func holds(t testing.TB, c *nbd.Conn, at int64, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := c.ReadAt(got, at); err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, want) {
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("byte %d is %#x, want %#x", at+int64(i), got[i], want[i])
				return
			}
		}
	}
}

// random is data without a zero byte in it.
func random(seed byte, n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data)
	for i := range data {
		data[i] |= 1
	}
	return data
}

// takes returns how much space a file takes on its file system, in bytes.
func takes(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// A refusingCase is an image, and how it is served. make makes it in a directory.
type refusingCase struct {
	name string
	make func(t *testing.T, dir string) ServerOptions
}

// templates are the directories in which cases were made, by name: to make an encrypted image takes seconds.
var templates = struct {
	sync.Mutex
	made map[string]ServerOptions
}{made: map[string]ServerOptions{}}

var templatesDir = filepath.Join(os.TempDir(), fmt.Sprintf("nbd-test-templates-%d", os.Getpid()))

// options returns a copy of the case in a directory of its own.
func (c refusingCase) options(t *testing.T, dir string) ServerOptions {
	t.Helper()
	templates.Lock()
	defer templates.Unlock()
	from := filepath.Join(templatesDir, c.name)
	o, found := templates.made[c.name]
	if !found {
		mkdir(t, from)
		o = c.make(t, from)
		templates.made[c.name] = o
	}
	if out, err := exec.Command("cp", "-a", "--sparse=auto", from+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	moved := func(path string) string { return dir + strings.TrimPrefix(path, from) }
	o.Image, o.Keys = moved(o.Image), slices.Clone(o.Keys)
	for i, k := range o.Keys {
		if k.Path != "" {
			o.Keys[i].Path = moved(k.Path)
		}
	}
	return o
}

// keyFiles writes keys to files of their own.
func keyFiles(t *testing.T, dir string, texts ...string) (keys []KeyFile) {
	t.Helper()
	for i, text := range texts {
		path := filepath.Join(dir, fmt.Sprintf("key,%d", i))
		if err := os.WriteFile(path, []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, KeyFile{ID: fmt.Sprintf("key-%d", i), Path: path})
	}
	return keys
}

const refusingBytes = 128 * MiB

// tables is the limit of the tables of an image with clusters of 1 MiB, in bytes.
const tables = 3 * MiB

// overlayOf makes an image that is based on another.
func overlayOf(t *testing.T, tools Tools, path, parent string) string {
	t.Helper()
	if err := tools.Create(testContext(t), ImageSpec{Path: path, SizeBytes: refusingBytes, BackingFile: parent}); err != nil {
		t.Fatal(err)
	}
	return path
}

// refusingCases are all the ways in which a backup's image is served.
var refusingCases = []refusingCase{
	{"plain", func(t *testing.T, dir string) ServerOptions {
		return ServerOptions{Image: newImage(t, filepath.Join(dir, "a,b c.qcow2"), refusingBytes)}
	}},
	{"limited", func(t *testing.T, dir string) ServerOptions {
		return ServerOptions{Image: newImage(t, filepath.Join(dir, "a,b.qcow2"), refusingBytes), RateLimit: 1 << 30}
	}},
	{"incremental", func(t *testing.T, dir string) ServerOptions {
		newImage(t, filepath.Join(dir, "full.qcow2"), refusingBytes)
		return ServerOptions{Image: overlayOf(t, Tools{}, filepath.Join(dir, "top.qcow2"), "full.qcow2")}
	}},
	{"encrypted", func(t *testing.T, dir string) ServerOptions {
		path, tools := filepath.Join(dir, "a.qcow2"), Tools{}.WithKey(secret(t, oneKey))
		spec := ImageSpec{Path: path, SizeBytes: refusingBytes, ClusterBytes: FullClusterBytes, ExtendedL2: true}
		if err := tools.Create(testContext(t), spec); err != nil {
			t.Fatal(err)
		}
		return ServerOptions{Image: path, Keys: keyFiles(t, dir, oneKey)}
	}},
	{"encrypted chain of several keys, limited", func(t *testing.T, dir string) ServerOptions {
		one, other := Tools{}.WithKey(secret(t, oneKey)), Tools{}.WithKey(secret(t, otherKey))
		newImage(t, filepath.Join(dir, "full.qcow2"), refusingBytes)
		overlayOf(t, one, filepath.Join(dir, "middle.qcow2"), "full.qcow2")
		keys := keyFiles(t, dir, oneKey, otherKey)
		return ServerOptions{
			Image: overlayOf(t, other, filepath.Join(dir, "top.qcow2"), "middle.qcow2"),
			Keys:  []KeyFile{keys[1], keys[0], {}}, RateLimit: 1 << 30,
		}
	}},
}

// serveRefusing starts a server that refuses zeroes, with the fastest I/O mode that works.
func serveRefusing(t *testing.T, o ServerOptions) (*server, *nbd.Conn) {
	t.Helper()
	o.RefuseZeroes, o.Export = true, "vm-disk0"
	o.SizeBytes = cmp.Or(o.SizeBytes, refusingBytes)
	mode, _, err := iomode.Detect(filepath.Dir(o.Image), nil)
	if err != nil {
		t.Fatal(err)
	}
	o.IO = mode
	s := startServer(t, o)
	return s, dial(t, s)
}
