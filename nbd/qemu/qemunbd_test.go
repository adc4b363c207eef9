package qemu

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/iomode"
	"github.com/sendense/backup-agent/nbd/sockets"
)

func TestArgs(t *testing.T) {
	options := ServerOptions{
		Image: "/backups/test-vm/b/test-vm-disk0.qcow2", Export: "test-vm-disk0",
		Description: "backup-test-vm-1700000000", IO: iomode.Mode{Cache: "none", AIO: "io_uring"},
	}
	got, err := options.Args()
	want := []string{
		"qemu-nbd", "--fork", "--persistent", "--export-name=test-vm-disk0", "--shared=16",
		"--cache=none", "--aio=io_uring", "--description=backup-test-vm-1700000000",
		"--discard=unmap", "--detect-zeroes=unmap", "--format=qcow2", "--", "/backups/test-vm/b/test-vm-disk0.qcow2",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	options.RefuseZeroes, options.SizeBytes, options.RateLimit = true, 1<<30, MiB
	got, err = options.Args()
	want = append(
		want[:len(want)-4:len(want)-4], "--object", "throttle-group,id=limit,x-bps-write=1048576", "--",
		`json:{"driver":"blkdebug","image":{"driver":"throttle","throttle-group":"limit","file":{"driver":"blkdebug",`+
			`"image":{"driver":"qcow2","file":{"driver":"file","filename":"/backups/test-vm/b/test-vm-disk0.qcow2"},`+
			`"discard":"unmap","detect-zeroes":"unmap"},"max-transfer":196608,"align":65536}},"max-transfer":33554432,`+
			`"inject-error":[{"event":"none","iotype":"write-zeroes","errno":5}]}`,
	)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	options.RefuseZeroes, options.RateLimit = false, 0
	options.ReadOnly, options.Foreground, options.Shared, options.Binary = true, true, 10, "/usr/bin/qemu-nbd"
	got, err = options.Args()
	want = []string{
		"/usr/bin/qemu-nbd", "--persistent", "--export-name=test-vm-disk0", "--shared=10",
		"--cache=none", "--aio=io_uring", "--description=backup-test-vm-1700000000", "--read-only",
		"--format=qcow2", "--", "/backups/test-vm/b/test-vm-disk0.qcow2",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestArgsRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*ServerOptions){
		"relative image": func(o *ServerOptions) { o.Image = "a.qcow2" },
		"json image":     func(o *ServerOptions) { o.Image = `json:{"driver":"null-co"}` },
		"protocol":       func(o *ServerOptions) { o.Image = "nbd:localhost:1" },
		"no image":       func(o *ServerOptions) { o.Image = "" },
		"unclean image":  func(o *ServerOptions) { o.Image = "/a/../b" },
		"control":        func(o *ServerOptions) { o.Image = "/a\nb" },
		"not UTF-8":      func(o *ServerOptions) { o.Image = "/a\xff" },
		"export":         func(o *ServerOptions) { o.Export = "a b" },
		"one client":     func(o *ServerOptions) { o.Shared = 1 },
		"refused twice":  func(o *ServerOptions) { o.ReadOnly, o.RefuseZeroes = true, true },
		"negative":       func(o *ServerOptions) { o.Shared = -1 },
		"unsafe":         func(o *ServerOptions) { o.IO.Cache = "unsafe" },
		"slow":           func(o *ServerOptions) { o.RateLimit = 1000 },
		"native":         func(o *ServerOptions) { o.IO = iomode.Mode{Cache: "writeback", AIO: "native"} },
		"no mode":        func(o *ServerOptions) { o.IO = iomode.Mode{} },
		"description":    func(o *ServerOptions) { o.Description = strings.Repeat("x", 5000) },
	} {
		options := ServerOptions{Image: "/a.qcow2", Export: "vm-disk0", IO: iomode.Buffered}
		spoil(&options)
		if args, err := options.Args(); err == nil {
			t.Errorf("%s: accepted: %q", name, args)
		}
	}
}

// strangePaths are names that QEMU might read as a protocol, as options, as an
// option of the command line, or as an escape.
var strangePaths = []string{
	"plain", "a b", "a:b", "a,b", "a,,b", "it's", `q"q`, `back\slash`, "json:{}", "nbd:localhost:1", "file:x", "-d",
	"driver=raw,file.filename=x", "$HOME", "%n%s", "%41", "a?b#c", "ünïcödé", "日本語", "{}[]*~;&|", "=",
}

// TestStrangePaths compares checkPath with the real qemu-nbd and qemu-img.
func TestStrangePaths(t *testing.T) {
	for _, name := range strangePaths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			dir := filepath.Join(tempDir(t), name)
			mkdir(t, dir)
			parent := newImage(t, filepath.Join(dir, name+".qcow2"), 8*MiB)
			overlay := filepath.Join(filepath.Dir(dir), "overlay.qcow2")
			spec := ImageSpec{Path: overlay, SizeBytes: 16 * MiB, BackingFile: filepath.Join(name, name+".qcow2")}
			if err := (Tools{}).Create(ctx, spec); err != nil {
				t.Fatal(err)
			}
			for path, size := range map[string]int64{parent: 8 * MiB, overlay: 16 * MiB} {
				if info, err := (Tools{}).Info(path); err != nil || info.VirtualBytes != size {
					t.Errorf("info: %+v, %v", info, err)
				}
				if _, err := (Tools{}).Check(ctx, path); err != nil {
					t.Error(err)
				}
				for _, o := range []ServerOptions{{}, {RateLimit: 64 * MiB}, {RefuseZeroes: true}} {
					o.Image, o.Export = path, "vm-disk0"
					s := startServer(t, o)
					if info, err := nbd.Probe(ctx, s.addr, "vm-disk0"); err != nil || info.SizeBytes != uint64(size) {
						t.Errorf("export: %+v, %v: %s", info, err, s.stderr)
					}
					if err := s.stop(); err != nil { // the overlay needs its parent unlocked
						t.Errorf("%v: %s", err, s.stderr)
					}
				}
			}
		})
	}
}

func TestEveryModeStarts(t *testing.T) {
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), 8*MiB)
	best, _, err := iomode.Detect(filepath.Dir(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	modes := []iomode.Mode{iomode.Buffered, best}
	if best.Cache == "none" {
		modes = append(modes, iomode.Mode{Cache: "none", AIO: "threads"}, iomode.Mode{Cache: "none", AIO: "native"})
	}
	for _, mode := range slices.Compact(modes) {
		for _, readOnly := range []bool{false, true} {
			s := startServer(t, ServerOptions{Image: path, Export: "vm-disk0", IO: mode, ReadOnly: readOnly})
			info, err := nbd.Probe(testContext(t), s.addr, "vm-disk0")
			if err != nil || info.ReadOnly() != readOnly {
				t.Errorf("%s, read-only %v: %+v, %v: %s", mode, readOnly, info, err, s.stderr)
			}
			if err := s.stop(); err != nil {
				t.Errorf("%s: %v: %s", mode, err, s.stderr)
			}
		}
	}
}

// TestRateLimit writes twice the limit of one second. On a busy machine it takes longer, never less.
func TestRateLimit(t *testing.T) {
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), 16*MiB)
	s := startServer(t, ServerOptions{Image: path, Export: "vm-disk0", RateLimit: 4 * MiB})
	conn, err := nbd.Dial(testContext(t), s.addr, "vm-disk0")
	if err != nil {
		t.Fatalf("%v: %s", err, s.stderr)
	}
	defer conn.Close()
	data, began := make([]byte, 2*MiB), time.Now()
	for i := range data {
		data[i] = byte(i)
	}
	for i := range 4 {
		if _, err := conn.WriteAt(data, int64(i)*2*MiB); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("8 MiB took %s at 4 MiB a second", took)
	}
}

func TestSocketActivationRefusesAPort(t *testing.T) {
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), 8*MiB)
	s := startServerArgs(t, []string{"qemu-nbd", "-t", "-f", "qcow2", "-p", "10809", path})
	if err := s.wait(); err == nil || !strings.Contains(s.stderr.String(), "socket activation") {
		t.Errorf("%v: %s", err, s.stderr)
	}
}

// TestForkedMeansServing: after the parent has exited with 0, a client gets an
// answer, and the process that stays has the inherited socket.
func TestForkedMeansServing(t *testing.T) {
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), 8*MiB)
	args, err := ServerOptions{Image: path, Export: "vm-disk0", IO: iomode.Buffered}.Args()
	if err != nil {
		t.Fatal(err)
	}
	s := startServerArgs(t, args)
	if err := s.wait(); err != nil {
		t.Fatalf("%v: %s", err, s.stderr)
	}
	holder := sockets.Listener(s.port)
	var pid int
	if _, err := fmt.Sscanf(holder, "qemu-nbd (pid %d)", &pid); err != nil {
		t.Fatalf("port is held by %s", holder)
	}
	if _, err := nbd.Probe(testContext(t), s.addr, "vm-disk0"); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	for sockets.Listener(s.port) != "unknown" {
		if ctx.Err() != nil {
			t.Fatalf("process %d does not end", pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
	s = startServerArgs(t, append(slices.Clone(args[:len(args)-1]), "/nonexistent/a.qcow2"))
	if err := s.wait(); err == nil || !strings.Contains(s.stderr.String(), "/nonexistent/a.qcow2") {
		t.Errorf("a missing image: %v: %s", err, s.stderr)
	}
}

// TestServed reads command lines of Args, with and without a limit, for strange paths too.
func TestServed(t *testing.T) {
	for _, image := range []string{"/r/vm/b/vm-disk0.qcow2", "/r/a,b,,c/-- x/é.qcow2"} {
		for _, limit := range []int64{0, 1 << 30} {
			for _, keys := range [][]KeyFile{nil, {{"k", "/a,b"}}, {{"k", "/a"}, {}, {"l", "/l"}, {"k", "/a"}}} {
				for _, refuse := range []bool{false, true} {
					o := ServerOptions{
						Image: image, Export: "vm-disk0", IO: iomode.Mode{Cache: "none", AIO: "threads"}, RateLimit: limit, Keys: keys, RefuseZeroes: refuse,
					}
					args, err := o.Args()
					if err != nil {
						t.Fatal(err)
					}
					if got, export, ok := Served(args); got != image || export != o.Export || !ok {
						t.Errorf("%q: %q %q %v", args, got, export, ok)
					}
				}
			}
		}
	}
	for _, args := range [][]string{
		nil,
		{"sleep", "infinity"},
		{"qemu-nbd", "--export-name=vm-disk0", "--", "relative"},
		{"qemu-nbd", "--export-name=vm", "--", "/x"},
		{"qemu-nbd", "--export-name=vm-disk0", "/x"},
		{"qemu-nbd", "--", "/x"},
		{"qemu-nbd", "--export-name=vm-disk0", "--", `json:{"driver":"raw","file":{"driver":"file","filename":"/x"}}`},
		{"qemu-nbd", "--export-name=vm-disk0", "--", `json:{"driver":"qcow2","file":{"driver":"nbd","filename":"/x"}}`},
		{"qemu-nbd", "--export-name=vm-disk0", "--", `json:{"driver":"qcow2"}`},
		{"qemu-nbd", "--export-name=vm-disk0", "--", `json:{"driver":"blkdebug","file":{"driver":"qcow2","file":{"driver":"file","filename":"/x"}}}`},
		{"qemu-nbd", "--export-name=vm-disk0", "--", `json:{"driver":"blkdebug","image":null}`},
		{"qemu-nbd", "--export-name=vm-disk0", "--", `json:null`},
	} {
		if image, export, ok := Served(args); ok {
			t.Errorf("%q: %q %q", args, image, export)
		}
	}
}

// TestServedByAnOlderAgent reads command lines of agents whose exports accepted zeroes: these run on after an upgrade.
func TestServedByAnOlderAgent(t *testing.T) {
	for _, tail := range []string{
		"--discard=unmap --detect-zeroes=unmap --format=qcow2 -- /r/vm/b/vm-disk0.qcow2",
		"--discard=unmap --detect-zeroes=unmap --object throttle-group,id=limit,x-bps-write=1048576 --image-opts -- " +
			"driver=throttle,throttle-group=limit,file.driver=qcow2,file.file.driver=file,file.file.filename=/r/vm/b/vm-disk0.qcow2",
		"--discard=unmap --detect-zeroes=unmap --object secret,id=k,file=/k -- " +
			`json:{"driver":"qcow2","encrypt":{"key-secret":"k"},"file":{"driver":"file","filename":"/r/vm/b/vm-disk0.qcow2"},"backing":{"encrypt":{"key-secret":"k"}}}`,
		"--discard=unmap --detect-zeroes=unmap --object secret,id=k,file=/k --object throttle-group,id=limit,x-bps-write=1048576 -- " +
			`json:{"driver":"throttle","throttle-group":"limit","file":{"driver":"qcow2","encrypt":{"key-secret":"k"},"file":{"driver":"file","filename":"/r/vm/b/vm-disk0.qcow2"}}}`,
	} {
		args := strings.Split("qemu-nbd --fork --persistent --export-name=vm-disk0 --shared=16 --cache=none --aio=io_uring --description=unit "+tail, " ")
		if image, export, ok := Served(args); image != "/r/vm/b/vm-disk0.qcow2" || export != "vm-disk0" || !ok {
			t.Errorf("%q: %q %q %v", args, image, export, ok)
		}
	}
}

// FuzzServed: from a command line of Args, Served reads what was asked for; from any other, only what could have been asked for.
func FuzzServed(f *testing.F) {
	f.Add("/a/b.qcow2", "vm-disk0", int64(0), "--export-name=vm-disk0\x00--\x00/a/b.qcow2")
	f.Add("/a,b,,c/d.qcow2", "vm-disk10", int64(1<<20), "x\x00--\x00"+throttled+"/a,,b")
	f.Add("/ä/ö=ü", "vm.x_y-disk1", int64(MinRateLimit), "--\x00--\x00--")
	f.Fuzz(func(t *testing.T, image, export string, limit int64, line string) {
		for _, keys := range [][]KeyFile{nil, {{}, {"k", "/a,b"}}} {
			for _, refuse := range []bool{false, true} {
				o := ServerOptions{Image: image, Export: export, RateLimit: limit, Shared: 10, IO: iomode.Buffered, Keys: keys, RefuseZeroes: refuse}
				args, err := o.Args()
				if err != nil {
					continue
				}
				if i, e, ok := Served(args); !ok || i != image || e != export {
					t.Fatalf("%q %q are read as %q %q, %v from %q", image, export, i, e, ok, args)
				}
			}
		}
		if i, e, ok := Served(strings.Split(line, "\x00")); ok && (checkPath(i) != nil || nbd.CheckExport(e) != nil) {
			t.Fatalf("%q: %q %q", line, i, e)
		}
	})
}
