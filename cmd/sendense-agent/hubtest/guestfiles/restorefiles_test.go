package guestfiles_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/guestfiles"
)

// booting bounds the start of an appliance in software on a busy machine.
const booting = 15 * time.Minute

// A partition of the disk whose files are read, in MiB.
type partition struct{ at, size int }

var (
	windows = partition{1, 16}
	root    = partition{17, 64}
	volumes = partition{81, 340}
)

const diskMiB = 430

// guestDisk makes a disk as guests have them: GPT, NTFS, ext4 with what is odd and hostile, and XFS on LVM. No kernel mounts any of it.
func guestDisk(t *testing.T, path string) (blob []byte) {
	t.Helper()
	dir := t.TempDir()
	blob = make([]byte, 3_000_001)
	_, _ = rand.Read(blob)
	hubtest.Must(t, os.WriteFile(dir+"/blob", blob, 0o644))
	hubtest.Must(t, os.WriteFile(path, nil, 0o600))
	hubtest.Must(t, os.Truncate(path, diskMiB<<20))
	table := exec.Command("sfdisk", "--quiet", path)
	table.Stdin = strings.NewReader("label: gpt\n")
	for _, p := range []partition{windows, root, volumes} {
		table.Stdin = io.MultiReader(table.Stdin, strings.NewReader(fmt.Sprintf("start=%dMiB,size=%dMiB\n", p.at, p.size)))
	}
	if out, err := table.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	for p, img := range map[partition]string{windows: ntfsImage(t, dir), root: ext4Image(t, dir)} {
		hubtest.Run(t, "dd", "if="+img, "of="+path, "bs=1M", "seek="+strconv.Itoa(p.at), "conv=notrunc,sparse", "status=none")
	}
	lvmDisk(t, dir, path)
	return blob
}

func sized(t *testing.T, path string, mib int) string {
	t.Helper()
	hubtest.Must(t, os.WriteFile(path, nil, 0o600))
	hubtest.Must(t, os.Truncate(path, int64(mib)<<20))
	return path
}

func ntfsImage(t *testing.T, dir string) string {
	img := sized(t, dir+"/ntfs.img", windows.size)
	hubtest.Run(t, "mkntfs", "-q", "-F", "-L", "WIN", img)
	hubtest.Run(t, "ntfscp", img, dir+"/blob", "Quarterly Report.bin")
	return img
}

// ext4Image holds names that a terminal would obey, that are no text, links in circles, a hole of a terabyte, rights that a copy must
// not have, a device node, and a name that leads elsewhere.
func ext4Image(t *testing.T, dir string) string {
	tree := dir + "/tree"
	for _, d := range []string{"/etc", "/odd", "/wild"} {
		hubtest.Must(t, os.MkdirAll(tree+d, 0o755))
	}
	for name, content := range map[string]string{
		"/etc/hostname": "guest\n", "/odd/new\nline": "1", "/odd/\x1b]0;owned\a\x1b[31m": "2", "/odd/\xff\xfe": "3", "/odd/it's a 'name'": "4",
		"/odd/-rf": "5", "/odd/$(id)": "6", "/odd/setuid": "7", "/wild/xx_xx_escaped": "8",
	} {
		hubtest.Must(t, os.WriteFile(tree+name, []byte(content), 0o644))
	}
	hubtest.Must(t, os.Chmod(tree+"/odd/setuid", 0o755|os.ModeSetuid))
	hubtest.Must(t, os.WriteFile(tree+"/sparse", nil, 0o644))
	hubtest.Must(t, os.Truncate(tree+"/sparse", 1<<40))
	for link, target := range map[string]string{"/odd/one": "two", "/odd/two": "one", "/odd/shadow": "/etc/shadow", "/odd/up": "../../../../../..", "/name": "/etc/hostname"} {
		hubtest.Must(t, os.Symlink(target, tree+link))
	}
	hubtest.Node(t, tree+"/odd/null", syscall.S_IFCHR, 1<<8|3)
	hubtest.Must(t, syscall.Mkfifo(tree+"/odd/fifo", 0o644))
	img := sized(t, dir+"/ext4.img", root.size)
	hubtest.Run(t, "mke2fs", "-q", "-t", "ext4", "-O", "^metadata_csum", "-L", "rootfs", "-d", tree, img)
	raw, err := os.ReadFile(img)
	hubtest.Must(t, err)
	hubtest.Must(t, os.WriteFile(img, bytes.ReplaceAll(raw, []byte("xx_xx_escaped"), []byte("../../escaped")), 0o600))
	return img
}

// lvmDisk makes a volume group and a logical volume in the last partition, without the kernel's device mapper, and puts an XFS there.
func lvmDisk(t *testing.T, dir, path string) {
	img := sized(t, dir+"/xfs.img", 320)
	proto := dir + "/proto"
	hubtest.Must(t, os.WriteFile(proto, fmt.Appendf(nil, "/none\n0 0\nd--755 0 0\nblob ---644 0 0 %[1]s/blob\nvar d--755 0 0\nname ---644 0 0 %[1]s/tree/etc/hostname\n$\n$\n", dir), 0o600))
	hubtest.Run(t, "mkfs.xfs", "-q", "-p", proto, img)
	hubtest.LoopNodes(t)
	device := strings.TrimSpace(hubtest.Run(t, "losetup", "--find", "--show", "--offset", strconv.Itoa(volumes.at<<20), "--sizelimit", strconv.Itoa(volumes.size<<20), path))
	defer hubtest.Run(t, "losetup", "--detach", device)
	for _, command := range []string{"pvcreate", "vgcreate vg0", "lvcreate -an -Zn -Wn -n root -L 320M vg0"} {
		w := append(hubtest.Words(command), "--driverloaded", "n", "--devices", device)
		if w[0] != "lvcreate" {
			w = append(w, device)
		}
		hubtest.Run(t, w[0], w[1:]...)
	}
	hubtest.Run(t, "dd", "if="+img, "of="+device, "bs=1M", "seek=1", "conv=notrunc,sparse,fsync", "status=none") // where the first extent begins
}

// filesHub is a hub with a restore point of a guest's disk.
func filesHub(t *testing.T) (h *hubtest.Hub, id string, blob []byte) {
	h = hubtest.New(t)
	source := h.AddVM("guest1", diskMiB<<20)[0]
	blob = guestDisk(t, source)
	return h, h.Point("guest1", rpc.Full), blob
}

// session starts a reader of the files.
func session(h *hubtest.Hub, id string) rpc.Restore {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), booting)
	defer cancel()
	r, err := h.Dial().StartRestore(ctx, rpc.RestoreRequest{BackupID: id, Files: true, RequestID: "session"})
	if err != nil {
		h.Fatalf("%+v; the daemon's log:\n%s", err, h.Daemon.Stderr())
	}
	return r
}

func look(h *hubtest.Hub, r rpc.Restore, op, volume, path string) (guestfiles.Answer, error) {
	h.Helper()
	a, s, err := guestfiles.Ask(h.Context(), r.FilesSocket, guestfiles.Request{Op: op, Volume: volume, Path: []byte(path)})
	if s != nil {
		s.Close()
	}
	return a, err
}

func read(h *hubtest.Hub, r rpc.Restore, volume, path string) []byte {
	h.Helper()
	_, s, err := guestfiles.Ask(h.Context(), r.FilesSocket, guestfiles.Request{Op: guestfiles.OpRead, Volume: volume, Path: []byte(path)})
	if err != nil {
		h.Fatalf("%s: %v", path, err)
	}
	defer s.Close()
	content, err := io.ReadAll(s)
	hubtest.Must(h.T, err)
	return content
}

// TestRestoreFiles: files come out of NTFS, ext4 and XFS on LVM byte for byte; what is hostile there hurts nobody; and whatever ends,
// the daemon, the caller or the reader, nothing is left.
func TestRestoreFiles(t *testing.T) {
	h, id, blob := filesHub(t)
	to := filepath.Join(t.TempDir(), "odd")
	copying := hubtest.Start(t, hubtest.Program("sendensectl"), "restore", "files", id, "0", "/odd", "--to", to, "-o", "json")
	r := session(h, id)
	looksAtVolumes(h, r)
	for _, f := range [][2]string{{"p1", "/quarterly report.BIN"}, {"vg0/root", "/blob"}} {
		if got := read(h, r, f[0], f[1]); !bytes.Equal(got, blob) {
			t.Errorf("%s of %s holds %d bytes, and not what was written", f[1], f[0], len(got))
		}
	}
	looksAtOddities(h, r)
	for deadline := time.Now().Add(booting); ; {
		if code, exited := copying.Exited(time.Second); exited && code == 0 {
			break
		} else if exited || time.Now().After(deadline) {
			t.Fatalf("%d, %v: %s %s", code, exited, copying.Stdout(), copying.Stderr())
		}
		looksAtVolumes(h, r) // or it would not be there any more
	}
	checkOddCopy(t, to, copying.Stderr())
	survivesTheDaemon(h, r, blob)
	readerDies(h, r)
	h.NothingServed()
}

func looksAtVolumes(h *hubtest.Hub, r rpc.Restore) {
	h.Helper()
	a, err := look(h, r, guestfiles.OpVolumes, "", "")
	hubtest.Must(h.T, err)
	var got []string
	for _, v := range a.Volumes {
		got = append(got, fmt.Sprintf("%s %s %d %s %v", v.Name, v.Type, v.SizeBytes>>20, v.Label, v.Readable))
	}
	want := []string{"p1 ntfs 16 WIN true", "p2 ext4 64 rootfs true", "vg0/root xfs 320  true"}
	if !slices.Equal(got, want) {
		h.Errorf("%q, want %q", got, want)
	}
}

func looksAtOddities(h *hubtest.Hub, r rpc.Restore) {
	h.Helper()
	a, err := look(h, r, guestfiles.OpList, "", "/odd") // only one volume has it
	hubtest.Must(h.T, err)
	var names []string
	for _, e := range a.Entries {
		names = append(names, string(e.Name))
		if string(e.Name) == "shadow" && string(e.Target) != "/etc/shadow" || string(e.Name) == "null" && e.Kind() != 0o020000 {
			h.Errorf("%+v", e)
		}
	}
	slices.Sort(names)
	want := []string{"\x1b]0;owned\a\x1b[31m", "$(id)", "-rf", "fifo", "it's a 'name'", "new\nline", "null", "one", "setuid", "shadow", "two", "up", "\xff\xfe"}
	slices.Sort(want)
	if !slices.Equal(names, want) || a.Volume != "p2" {
		h.Errorf("%s: %q, want %q", a.Volume, names, want)
	}
	if got := read(h, r, "p2", "/name"); string(got) != "guest\n" { // the guest's own, and not this machine's
		h.Errorf("/name: %q", got)
	}
	if got := read(h, r, "p2", "/odd/\xff\xfe"); string(got) != "3" {
		h.Errorf("a name that is no text: %q", got)
	}
	for _, refused := range [][3]string{
		{"", "/", "choose one with --volume"},
		{"", "/nosuch", "no such file"},
		{"p9", "/", `volume "p9": not on the disk`},
		{"p1", "/nosuch", "no such file on p1 (ntfs)\n"},
		{"p2", "/odd/null", "neither a file nor a directory"},
		{"p2", "/odd/one", "Too many levels"},
		{"p2", "relative", "absolute"},
		{"p2", "/odd/shadow", ""},
		{"p2", "/wild/../../../etc/shadow", ""},
	} {
		if a, err := look(h, r, guestfiles.OpRead, refused[0], refused[1]); err == nil || !strings.Contains(err.Error()+"\n", refused[2]) {
			h.Errorf("%q: %+v, %v", refused, a, err)
		}
	}
	if a, err := look(h, r, guestfiles.OpList, "p2", "/sparse"); err != nil || a.Entry.SizeBytes != 1<<40 {
		h.Errorf("%+v, %v", a, err)
	}
	if a, err := look(h, r, guestfiles.OpList, "p2", "/wild"); err == nil && len(a.Entries) > 0 {
		h.Errorf("a name that leads elsewhere is passed on: %+v", a)
	}
}

// survivesTheDaemon: the daemon is killed while a file is being read, and comes back while it is still being read.
func survivesTheDaemon(h *hubtest.Hub, r rpc.Restore, blob []byte) {
	h.Helper()
	_, s, err := guestfiles.Ask(h.Context(), r.FilesSocket, guestfiles.Request{Op: guestfiles.OpRead, Volume: "vg0/root", Path: []byte("/blob")})
	hubtest.Must(h.T, err)
	defer s.Close()
	h.Daemon.End(syscall.SIGKILL)
	half := make([]byte, len(blob)/2)
	_, err = io.ReadFull(s, half)
	hubtest.Must(h.T, err)
	h.Boot()
	rest, err := io.ReadAll(s)
	hubtest.Must(h.T, err)
	if !bytes.Equal(append(half, rest...), blob) {
		h.Error("what was read across the daemon's death is not what was written")
	}
	again, err := h.Dial().StartRestore(h.Context(), rpc.RestoreRequest{BackupID: r.BackupID, Disks: []int{0}, Files: true, RequestID: "session"})
	if err != nil || again.RestoreID != r.RestoreID || again.State != rpc.RestoreServing {
		h.Errorf("the repeated request: %+v, %v", again, err)
	}
	h.Steps(hubtest.Step(hubtest.Words("restore show "+r.RestoreID), 0, r.FilesSocket, ""))
}

// checkOddCopy looks at a copy of a directory in which nothing is as it should be.
func checkOddCopy(t *testing.T, to, said string) {
	t.Helper()
	for name, content := range map[string]string{"new\nline": "1", "\x1b]0;owned\a\x1b[31m": "2", "\xff\xfe": "3", "it's a 'name'": "4", "-rf": "5", "$(id)": "6", "setuid": "7"} {
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(got) != content {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	if info, err := os.Lstat(filepath.Join(to, "setuid")); err != nil || info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if target, err := os.Readlink(filepath.Join(to, "shadow")); target != "/etc/shadow" {
		t.Errorf("%q, %v", target, err)
	}
	for _, special := range []string{"null", "fifo"} {
		if _, err := os.Lstat(filepath.Join(to, special)); !os.IsNotExist(err) || !strings.Contains(said, "skipped: ./"+special) {
			t.Errorf("%s: %v; %s", special, err, said)
		}
	}
	if strings.ContainsAny(said, "\x1b\a") {
		t.Errorf("the terminal is given orders: %q", said)
	}
}

// readerDies: the restore ends and says why, and nothing of it is left.
func readerDies(h *hubtest.Hub, r rpc.Restore) {
	h.Helper()
	hubtest.Run(h.T, "systemctl", "kill", "--signal=KILL", r.FilesUnit+".service")
	var ended rpc.Restore
	h.Eventually("the restore ends", func() bool {
		var err error
		ended, err = h.Dial().GetRestore(h.Context(), r.RestoreID)
		hubtest.Must(h.T, err)
		return ended.State.Ended()
	})
	if f := ended.Failure; f == nil || f.Reason != rpc.ReasonReaderFailed || !strings.Contains(f.Message, "signal") || f.Unit == "" {
		h.Errorf("%+v", ended)
	}
	if left, err := filepath.Glob(filepath.Dir(rpc.DefaultSocket) + "/files-*"); err != nil || len(left) > 0 {
		h.Errorf("%q is left, %v", left, err)
	}
}
