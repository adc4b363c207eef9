package agent_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// Two keys, as "base64" writes 48 random bytes.
const (
	firstKey  = "Xq0q4cJmVb1ZkHq3sZ5dGd4wq2m1n9o0p8r7s6t5u4v3w2x1y0zAaBbCcDdEeFfG"
	secondKey = "R2m1n9o0p8r7s6t5u4v3w2x1y0zAaBbCcDdEeFfGXq0q4cJmVb1ZkHq3sZ5dGd4w"
)

// giveKeys puts keys where systemd puts the daemon's credentials, and returns a way to change them.
func giveKeys(t testing.TB, keys map[string]string) func(id, content string) {
	t.Helper()
	dir := systemdtest.DiskDir(t)
	must(t, os.Chmod(dir, 0o700)) // as systemd's is
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	give := func(id, content string) {
		t.Helper()
		path := filepath.Join(dir, id)
		must(t, os.RemoveAll(path))
		if content != "" {
			must(t, os.WriteFile(path, []byte(content), 0o400))
		}
	}
	for id, content := range keys {
		give(id, content)
	}
	return give
}

// encrypted has the repository encrypt with a key; the others are of older restore points.
func encrypted(key string, old ...string) func(*config.Config, *snatest.Options) {
	return func(c *config.Config, _ *snatest.Options) {
		c.Repositories[0].EncryptionKey, c.Repositories[0].OldKeys = key, old
	}
}

// rotate restarts the agent with other keys.
func (w *world) rotate(key string, old ...string) {
	w.Helper()
	w.stop()
	encrypted(key, old...)(w.config, nil)
	w.start()
}

// holdsNothingOf fails the test when the beginning of a source stands in any file below a directory.
func (w *world) holdsNothingOf(dir string, sources ...string) {
	w.Helper()
	var samples [][]byte
	for _, s := range sources {
		content, err := os.ReadFile(s)
		must(w.TB, err)
		for at := 0; at < 1<<20; at += 64 << 10 { // a piece of every cluster
			samples = append(samples, content[at:at+32])
		}
	}
	looked := 0
	must(w.TB, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, s := range samples {
			if bytes.Contains(content, s) {
				w.Errorf("%s holds what stands on the disk", path)
				break
			}
		}
		looked++
		return err
	}))
	if looked == 0 {
		w.Errorf("nothing is in %s", dir)
	}
}

// TestEncryptedChain: full and incremental, with a key and then another, are restored byte for byte; nothing of the guest stands
// in the repository.
func TestEncryptedChain(t *testing.T) {
	giveKeys(t, map[string]string{"key-1": firstKey, "key-2": secondKey})
	w := newWorld(t, encrypted("key-1"))
	vm, sources := w.putVM("vm", 48<<20, 32<<20)
	points := []record.Backup{w.point(vm.Name, record.Full)}
	frozen := [][]string{freeze(t, sources)}
	more := func() {
		scribble(t, sources[0], int64(len(points))<<16) // within what is looked for
		points = append(points, w.point(vm.Name, record.Incremental))
		frozen = append(frozen, freeze(t, sources))
	}
	more()
	w.rotate("key-2", "key-1")
	more()
	for i, want := range []string{"key-1", "key-1", "key-2"} {
		for _, d := range points[i].Runs {
			if d.KeyID != want {
				t.Errorf("%s is encrypted with %q, want %q", d.Image, d.KeyID, want)
			}
		}
	}
	for _, f := range frozen {
		w.holdsNothingOf(w.config.Repositories[0].Path, f...)
	}
	for i := range points {
		r := w.serve(agent.RestoreRequest{BackupID: points[i].ID})
		w.compareServed(r, frozen[i])
		w.stopRestore(r.ID)
	}
	w.verified(points[2].ID)
}

// TestEncryptedMerged: restore points of several keys are merged and consolidated, stay what they were, and are encrypted with
// the key of new images; nothing of the guest stands in the repository. Without a key that is needed nothing is changed.
func TestEncryptedMerged(t *testing.T) {
	giveKeys(t, map[string]string{"key-1": firstKey, "key-2": secondKey})
	w := newWorld(t, encrypted("key-1"))
	vm, sources := w.putVM("vm", 48<<20, 32<<20)
	var chain []instant
	point := func() {
		scribble(t, sources[0], int64(len(chain))<<16)
		b := w.point(vm.Name, record.Auto)
		chain = append(chain, instant{b, freeze(t, sources)})
	}
	point()
	point()
	point()
	w.rotate("key-2")
	_, err := w.agent.Consolidate(t.Context(), chain[2].ID)
	w.wantKeyError("consolidate without the old key", err, "old_keys")
	w.rotate("key-2", "key-1")
	w.asBefore(chain)
	point()
	b, err := w.agent.Consolidate(t.Context(), chain[2].ID)
	must(t, err)
	if b.Runs[0].KeyID != "key-2" || !b.Encrypted() || b.Type != record.Full {
		t.Errorf("%+v", b)
	}
	w.whole(chain...)
	w.verified(chain[3].ID)
	for _, i := range chain {
		w.holdsNothingOf(w.config.Repositories[0].Path, i.disks...)
	}
	for _, i := range []int{1, 0} {
		must(t, w.agent.DeleteBackup(t.Context(), chain[i].ID, false))
	}
	w.rotate("key-2") // the old one is needed no longer
	w.whole(chain[2:]...)
	w.verified(chain[3].ID)
}

// TestEncryptedPruned: an expired restore point in the middle of an encrypted chain is merged; where backups are encrypted no
// longer, the chain stays what it is.
func TestEncryptedPruned(t *testing.T) {
	giveKeys(t, map[string]string{"key-1": firstKey})
	w := newWorld(t, withPolicy(config.Policy{KeepLast: 1, ExpiredMiddle: config.MergeMiddle}), encrypted("key-1"))
	vm, sources := w.putVM("vm", 48<<20)
	var chain []instant
	for i := range 3 {
		scribble(t, sources[0], int64(i)<<16)
		chain = append(chain, instant{w.point(vm.Name, record.Auto), freeze(t, sources)})
	}
	w.rotate("", "key-1")
	if report := w.prune(agent.PruneRequest{}); report.Merged != 1 || report.Removed != 2 || report.Failed != 0 {
		t.Errorf("%+v", report)
	}
	w.whole(chain[2])
	if b, err := w.agent.Backup(chain[2].ID); err != nil || b.Runs[0].KeyID != "key-1" {
		t.Errorf("%+v, %v", b, err)
	}
	w.holdsNothingOf(w.config.Repositories[0].Path, chain[2].disks...)
}

// TestPlainStaysPlain: what was not encrypted is not when it is consolidated, whatever new backups are: those that stand on it are
// plain too.
func TestPlainStaysPlain(t *testing.T) {
	giveKeys(t, map[string]string{"key-1": firstKey})
	w := newWorld(t)
	vm, sources := w.putVM("vm", 8<<20)
	var chain []instant
	for i := range 3 {
		scribble(t, sources[0], int64(i)<<16)
		chain = append(chain, instant{w.point(vm.Name, record.Auto), freeze(t, sources)})
	}
	w.rotate("key-1")
	b, err := w.agent.Consolidate(t.Context(), chain[1].ID)
	must(t, err)
	if b.Encrypted() || b.Type != record.Full {
		t.Errorf("%+v", b)
	}
	w.whole(chain...)
	w.verified(chain[2].ID)
}

// TestEncryptedVerified: a bit that flips in an encrypted image is found and named; that a key is away is no damage.
func TestEncryptedVerified(t *testing.T) {
	give := giveKeys(t, map[string]string{"key-1": firstKey})
	w := newWorld(t, encrypted("key-1"))
	vm, _ := w.putVM("vm", 8<<20)
	full := w.point(vm.Name, record.Full)
	last := w.point(vm.Name, record.Incremental)
	found := func() map[string]agent.FileStatus {
		t.Helper()
		v, err := w.agent.Verify(agent.VerifyRequest{BackupID: last.ID, Deep: true})
		must(t, err)
		report, err := v.Wait(t.Context())
		must(t, err)
		of := map[string]agent.FileStatus{}
		for _, f := range report.Files {
			of[f.Path] = f.Status
		}
		return of
	}
	give("key-1", "")
	if of := found(); of[full.Runs[0].Image] != agent.FileUnreadable || of[last.Runs[0].Image] != agent.FileUnreadable {
		t.Errorf("without the key: %v", of)
	}
	give("key-1", firstKey)
	w.verified(last.ID)
	flipLast(t, full.Runs[0].Image)
	if of := found(); of[full.Runs[0].Image] != agent.FileDamaged || of[last.Runs[0].Image] != agent.FileOK {
		t.Errorf("a flipped bit: %v", of)
	}
}

// TestEncryptedScratch: what a writable restore takes in is encrypted too.
func TestEncryptedScratch(t *testing.T) {
	giveKeys(t, map[string]string{"key-1": firstKey})
	w := newWorld(t, encrypted("key-1"))
	vm, _ := w.putVM("vm", 8<<20)
	b := w.point(vm.Name, record.Full)
	r := w.serve(agent.RestoreRequest{BackupID: b.ID, Writable: true})
	if out, err := write(r.Disks[0].URL, 4<<20); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	overlay, err := os.ReadFile(r.Disks[0].Image)
	must(t, err)
	if bytes.Contains(overlay, bytes.Repeat([]byte{0x5a}, 64)) || !bytes.Contains(overlay, []byte("LUKS\xba\xbe")) {
		t.Errorf("%s holds what was written", r.Disks[0].Image)
	}
}

// TestEncryptionBeginsWithAFull: no chain holds images that are encrypted beside some that are not.
func TestEncryptionBeginsWithAFull(t *testing.T) {
	giveKeys(t, map[string]string{"key-1": firstKey})
	w := newWorld(t)
	vm, _ := w.putVM("vm", 8<<20)
	for _, key := range []string{"", "key-1", ""} {
		var old []string
		if key == "" {
			old = []string{"key-1"}
		}
		w.rotate(key, old...)
		_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: vm.Name, Type: record.Incremental, Repository: "main"})
		if e := agent.AsError(err); e == nil || e.Reason != agent.NoParent {
			t.Errorf("key %q: an incremental: %v", key, err)
		}
		if b := w.point(vm.Name, record.Auto); b.Type != record.Full || b.Encrypted() != (key != "") {
			t.Errorf("key %q: %s, encrypted %v", key, b.Type, b.Encrypted())
		}
		if b := w.point(vm.Name, record.Auto); b.Type != record.Incremental {
			t.Errorf("key %q: the second is %s", key, b.Type)
		}
	}
}

// TestKeyUnusable: without its key nothing is begun, and whoever asks is told of which repository which key is meant, and what
// to do. The SNA hears nothing.
func TestKeyUnusable(t *testing.T) {
	give := giveKeys(t, map[string]string{"key-1": firstKey})
	w := newWorld(t, encrypted("key-1"))
	vm, sources := w.putVM("vm", 8<<20)
	b := w.point(vm.Name, record.Full)
	other, _ := w.putVM("other", 8<<20)
	for _, c := range []struct{ what, content, want string }{
		{"missing", "", "is missing"},
		{"with a newline", firstKey + "\n", "newline"},
		{"short", "short", "5 bytes long"},
		{"binary", strings.Repeat("\x80", 40), "no printable ASCII"},
		{"another", secondKey, "does not open"},
	} {
		give("key-1", c.content)
		for _, kind := range []record.Type{record.Full, record.Incremental, record.Auto} {
			_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: vm.Name, Type: kind, Repository: "main"})
			w.wantKeyError(c.what+", "+string(kind), err, c.want)
		}
		if c.content != secondKey { // of a VM that has no restore point nothing tells that it is another one
			_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: other.Name, Type: record.Full, Repository: "main"})
			w.wantKeyError(c.what+", new VM", err, c.want)
		}
		for _, writable := range []bool{false, true} {
			_, err := w.agent.StartRestore(t.Context(), agent.RestoreRequest{BackupID: b.ID, Writable: writable})
			w.wantKeyError(c.what+", restore", err, c.want)
		}
		w.clean()
	}
	give("key-1", firstKey)
	w.rotate("")
	_, err := w.agent.StartRestore(t.Context(), agent.RestoreRequest{BackupID: b.ID})
	w.wantKeyError("not configured", err, "old_keys")
	w.rotate("", "key-1")
	w.compareServed(w.serve(agent.RestoreRequest{BackupID: b.ID}), freeze(t, sources))
	if n := len(w.sna.State().PostsPerJob); n != 1 {
		t.Errorf("the SNA was asked for %d backups, want 1", n)
	}
}

func (w *world) wantKeyError(what string, err error, words string) {
	w.Helper()
	e := agent.AsError(err)
	if e == nil || e.Reason != agent.KeyUnavailable {
		w.Errorf("%s: %v", what, err)
		return
	}
	for _, want := range []string{"repository main", `"key-1"`, words} {
		if !strings.Contains(e.Message, want) {
			w.Errorf("%s: %q does not say %s", what, e.Message, want)
		}
	}
	if strings.Contains(e.Message+e.Hint, firstKey[:8]) || !strings.Contains(e.Hint, "/etc/credstore/key-1") && words != "old_keys" {
		w.Errorf("%s: hint %q", what, e.Hint)
	}
}

// TestKeyMissingAtTheEnd: a key that goes while a backup runs fails it where its image is checked: a restore point that nobody
// could open is none.
func TestKeyMissingAtTheEnd(t *testing.T) {
	give := giveKeys(t, map[string]string{"key-1": firstKey})
	w := newWorld(t, encrypted("key-1"))
	vm, _ := w.putVM("vm", 8<<20)
	w.sna.Hold("copy/0")
	b := w.startBackup(vm.Name)
	give("key-1", "")
	w.sna.Release("copy/0")
	if b = w.wait(b.ID); b.State != record.Failed || b.Failure.Reason != string(agent.KeyUnavailable) {
		t.Errorf("%s: %+v", b.State, b.Failure)
	}
}

// TestImageExchangedForAPlainOne: who can write to the repository cannot have a plain image taken for an encrypted one.
func TestImageExchangedForAPlainOne(t *testing.T) {
	giveKeys(t, map[string]string{"key-1": firstKey})
	w := newWorld(t, encrypted("key-1"))
	vm, _ := w.putVM("vm", 8<<20)
	b := w.point(vm.Name, record.Full)
	image := b.Runs[0].Image
	must(t, os.Remove(image))
	must(t, qemu.Tools{}.Create(t.Context(), qemu.ImageSpec{Path: image, SizeBytes: 8 << 20, ClusterBytes: qemu.FullClusterBytes, ExtendedL2: true}))
	must(t, os.Chmod(image, 0o644))
	_, err := w.agent.StartRestore(t.Context(), agent.RestoreRequest{BackupID: b.ID})
	if err == nil || !strings.Contains(err.Error(), "is encrypted: false") {
		t.Errorf("a restore: %v", err)
	}
	if _, err = w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: vm.Name, Type: record.Incremental, Repository: "main"}); agent.AsError(err) == nil ||
		agent.AsError(err).Reason != agent.NoParent {
		t.Errorf("an incremental: %v", err)
	}
}

// TestKeyIsNotTold looks for the key wherever somebody could find it while a backup and a restore run.
func TestKeyIsNotTold(t *testing.T) {
	giveKeys(t, map[string]string{"key-1": firstKey})
	w := newWorld(t, encrypted("key-1"))
	vm, _ := w.putVM("vm", 8<<20)
	b := w.point(vm.Name, record.Full)
	r := w.serve(agent.RestoreRequest{BackupID: b.ID})
	w.sna.Hold("copy/0")
	running := w.startBackup(vm.Name)
	for _, unit := range []string{r.Disks[0].Unit, running.Runs[0].Unit} {
		u, err := w.units.Get(t.Context(), unit)
		must(t, err)
		pid := u.MainPID
		for what, content := range map[string]string{
			"systemctl show":      shellOut(t, "systemctl show --all %[1]s.service %[1]s.socket", unit),
			"unit file":           shellOut(t, "systemctl cat %s.service", unit),
			"journal":             shellOut(t, "journalctl --no-pager --output=export"),
			"all processes":       shellOut(t, "ps axeww"),
			"its environment":     shellOut(t, "cat /proc/%d/environ", pid),
			"its command line":    shellOut(t, "cat /proc/%d/cmdline", pid),
			"files of the agent":  shellOut(t, "cat %s/*", w.config.Agent.StateDirectory),
			"files of the backup": shellOut(t, "cat %s/*", b.Directory),
		} {
			if strings.Contains(content, firstKey) {
				t.Errorf("%s: %s tells the key", unit, what)
			}
			if content == "" {
				t.Errorf("%s: %s: nothing was looked at", unit, what)
			}
		}
		file := shellOut(t, "systemctl cat %s.service", unit)
		if !strings.Contains(file, "LoadCredential=key-1:") || strings.Contains(file, "SetCredential") {
			t.Error(file)
		}
	}
	w.sna.Release("copy/0")
	w.wait(running.ID)
}

func shellOut(t testing.TB, format string, args ...any) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", fmt.Sprintf(format, args...)).Output()
	must(t, err)
	return string(out)
}
