package repositories_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/prune"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/verify"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// TestEncryptedChain: a full backup and incrementals, with one key and then another, are restored byte for byte. The repository contains
// no plain data of the guest.
func TestEncryptedChain(t *testing.T) {
	agenttest.GiveKeys(t, map[string]string{"key-1": agenttest.FirstKey, "key-2": agenttest.SecondKey})
	w := agenttest.New(t, agenttest.Encrypted("key-1"))
	vm, sources := w.PutVM("vm", 48<<20, 32<<20)
	points := []record.Backup{w.Point(vm.Name, record.Full)}
	frozen := [][]string{agenttest.Freeze(t, sources)}
	more := func() {
		agenttest.Scribble(t, sources[0], int64(len(points))<<16) // within the samples that are searched for
		points = append(points, w.Point(vm.Name, record.Incremental))
		frozen = append(frozen, agenttest.Freeze(t, sources))
	}
	more()
	w.Keys.Rotate("key-2", "key-1")
	more()
	for i, want := range []string{"key-1", "key-1", "key-2"} {
		for _, d := range points[i].Runs {
			if d.KeyID != want {
				t.Errorf("%s is encrypted with %q, want %q", d.Image, d.KeyID, want)
			}
		}
	}
	for _, f := range frozen {
		w.Keys.HoldsNothingOf(w.Config.Repositories[0].Path, f...)
	}
	for i := range points {
		r := w.Restores.Serve(restore.Request{BackupID: points[i].ID})
		w.Restores.Compare(r, frozen[i])
		w.Restores.Stop(r.ID)
	}
	w.Chains.Verified(points[2].ID)
}

// TestEncryptedMerged: restore points of several keys are merged, also into a synthetic full. They keep their content and are encrypted
// with the key of new images. The repository contains no plain data of the guest. If a key is missing, nothing changes.
func TestEncryptedMerged(t *testing.T) {
	agenttest.GiveKeys(t, map[string]string{"key-1": agenttest.FirstKey, "key-2": agenttest.SecondKey})
	w := agenttest.New(t, agenttest.Encrypted("key-1"))
	vm, sources := w.PutVM("vm", 12<<20) // QEMU takes seconds for each encrypted image
	var points []agenttest.Instant
	point := func() {
		agenttest.Scribble(t, sources[0], int64(len(points))<<16)
		b := w.Point(vm.Name, record.Auto)
		points = append(points, agenttest.Instant{Backup: b, Disks: agenttest.Freeze(t, sources)})
	}
	point()
	point()
	point()
	w.Keys.Rotate("key-2")
	_, err := w.Agent.Merges.SyntheticFull(t.Context(), points[2].ID)
	w.Keys.WantError("consolidate without the old key", err, "old_keys")
	w.Keys.Rotate("key-2", "key-1")
	w.Merges.AsBefore(points)
	point()
	b, err := w.Agent.Merges.SyntheticFull(t.Context(), points[2].ID)
	agenttest.Must(t, err)
	if b.Runs[0].KeyID != "key-2" || !b.Encrypted() || b.Type != record.Full {
		t.Errorf("%+v", b)
	}
	w.Chains.Whole(points...)
	w.Chains.Verified(points[3].ID)
	for _, i := range points {
		w.Keys.HoldsNothingOf(w.Config.Repositories[0].Path, i.Disks...)
	}
	for _, i := range []int{1, 0} {
		agenttest.Must(t, w.Agent.Policies.Delete(t.Context(), points[i].ID, false))
	}
	w.Keys.Rotate("key-2") // the old key is no longer needed
	w.Chains.Whole(points[2:]...)
	w.Chains.Verified(points[3].ID)
}

// TestEncryptedPruned: an expired restore point in the middle of an encrypted chain is merged. If new backups are no longer encrypted,
// the chain is unchanged.
func TestEncryptedPruned(t *testing.T) {
	agenttest.GiveKeys(t, map[string]string{"key-1": agenttest.FirstKey})
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 1, ExpiredMiddle: config.MergeMiddle}), agenttest.Encrypted("key-1"))
	vm, sources := w.PutVM("vm", 12<<20)
	var points []agenttest.Instant
	for i := range 3 {
		agenttest.Scribble(t, sources[0], int64(i)<<16)
		points = append(points, agenttest.Instant{Backup: w.Point(vm.Name, record.Auto), Disks: agenttest.Freeze(t, sources)})
	}
	w.Keys.Rotate("", "key-1")
	if report := w.Prune(prune.Request{}); report.Merged != 1 || report.Removed != 2 || report.Failed != 0 {
		t.Errorf("%+v", report)
	}
	w.Chains.Whole(points[2])
	if b, err := w.Agent.Records.Backup(points[2].ID); err != nil || b.Runs[0].KeyID != "key-1" {
		t.Errorf("%+v, %v", b, err)
	}
	w.Keys.HoldsNothingOf(w.Config.Repositories[0].Path, points[2].Disks...)
}

// TestPlainStaysPlain: a synthetic full of a chain that is not encrypted is not encrypted either, even if new backups are: its children
// are not encrypted.
func TestPlainStaysPlain(t *testing.T) {
	agenttest.GiveKeys(t, map[string]string{"key-1": agenttest.FirstKey})
	w := agenttest.New(t)
	vm, sources := w.PutVM("vm", 8<<20)
	var points []agenttest.Instant
	for i := range 3 {
		agenttest.Scribble(t, sources[0], int64(i)<<16)
		points = append(points, agenttest.Instant{Backup: w.Point(vm.Name, record.Auto), Disks: agenttest.Freeze(t, sources)})
	}
	w.Keys.Rotate("key-1")
	b, err := w.Agent.Merges.SyntheticFull(t.Context(), points[1].ID)
	agenttest.Must(t, err)
	if b.Encrypted() || b.Type != record.Full {
		t.Errorf("%+v", b)
	}
	w.Chains.Whole(points...)
	w.Chains.Verified(points[2].ID)
}

// TestEncryptedVerified: a flipped bit in an encrypted image is found and named. A missing key is not damage.
func TestEncryptedVerified(t *testing.T) {
	give := agenttest.GiveKeys(t, map[string]string{"key-1": agenttest.FirstKey})
	w := agenttest.New(t, agenttest.Encrypted("key-1"))
	vm, _ := w.PutVM("vm", 8<<20)
	full := w.Point(vm.Name, record.Full)
	last := w.Point(vm.Name, record.Incremental)
	found := func() map[string]verify.FileStatus {
		t.Helper()
		v, err := w.Agent.Verifications.Start(verify.Request{BackupID: last.ID, Deep: true})
		agenttest.Must(t, err)
		report, err := v.Wait(t.Context())
		agenttest.Must(t, err)
		of := map[string]verify.FileStatus{}
		for _, f := range report.Files {
			of[f.Path] = f.Status
		}
		return of
	}
	give("key-1", "")
	if of := found(); of[full.Runs[0].Image] != verify.FileUnreadable || of[last.Runs[0].Image] != verify.FileUnreadable {
		t.Errorf("without the key: %v", of)
	}
	give("key-1", agenttest.FirstKey)
	w.Chains.Verified(last.ID)
	agenttest.FlipLast(t, full.Runs[0].Image)
	if of := found(); of[full.Runs[0].Image] != verify.FileDamaged || of[last.Runs[0].Image] != verify.FileOK {
		t.Errorf("a flipped bit: %v", of)
	}
}

// TestEncryptedPoint looks at one encrypted restore point from several sides: QEMU takes seconds to make one.
func TestEncryptedPoint(t *testing.T) {
	agenttest.GiveKeys(t, map[string]string{"key-1": agenttest.FirstKey})
	w := agenttest.New(t, agenttest.Encrypted("key-1"))
	vm, _ := w.PutVM("vm", 8<<20)
	b := w.Point(vm.Name, record.Full)
	t.Run("its key is not told", func(t *testing.T) { keyIsNotTold(t, w, b) })
	t.Run("the scratch of a restore is encrypted", func(t *testing.T) { scratchIsEncrypted(t, w, b) })
	t.Run("a plain image does not replace it", func(t *testing.T) { noPlainImageInstead(t, w, b) }) // the last: it is gone then
}

// keyIsNotTold searches for the key wherever it could leak while a backup and a restore run.
func keyIsNotTold(t *testing.T, w *agenttest.World, b record.Backup) {
	r := w.Restores.Serve(restore.Request{BackupID: b.ID})
	other, _ := w.PutVM("other", 8<<20)
	w.SNA.Hold("copy/0")
	running := w.StartBackup(other.Name)
	for _, unit := range []string{r.Disks[0].Unit, running.Runs[0].Unit} {
		u, err := w.Units.Get(t.Context(), unit)
		agenttest.Must(t, err)
		pid := u.MainPID
		for what, content := range map[string]string{
			"systemctl show":      shellOut(t, "systemctl show --all %[1]s.service %[1]s.socket", unit),
			"unit file":           shellOut(t, "systemctl cat %s.service", unit),
			"journal":             shellOut(t, "journalctl --no-pager --output=export"),
			"all processes":       shellOut(t, "ps axeww"),
			"its environment":     shellOut(t, "cat /proc/%d/environ", pid),
			"its command line":    shellOut(t, "cat /proc/%d/cmdline", pid),
			"files of the agent":  shellOut(t, "cat %s/*", w.Config.Agent.StateDirectory),
			"files of the backup": shellOut(t, "cat %s/*", b.Directory),
		} {
			if strings.Contains(content, agenttest.FirstKey) {
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
	w.SNA.Release("copy/0")
	w.Wait(running.ID)
}

// scratchIsEncrypted serves a writable restore: what clients write to it is encrypted too.
func scratchIsEncrypted(t *testing.T, w *agenttest.World, b record.Backup) {
	r := w.Restores.Serve(restore.Request{BackupID: b.ID, Writable: true})
	if out, err := agenttest.Write(r.Disks[0].URL, 4<<20); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	overlay, err := os.ReadFile(r.Disks[0].Image)
	agenttest.Must(t, err)
	if bytes.Contains(overlay, bytes.Repeat([]byte{0x5a}, 64)) || !bytes.Contains(overlay, []byte("LUKS\xba\xbe")) {
		t.Errorf("%s holds what was written", r.Disks[0].Image)
	}
}

// noPlainImageInstead exchanges the image: a plain image in place of an encrypted one is not accepted, even from someone who can write to the
// repository.
func noPlainImageInstead(t *testing.T, w *agenttest.World, b record.Backup) {
	image := b.Runs[0].Image
	agenttest.Must(t, os.Remove(image))
	agenttest.Must(t, qemu.Tools{}.Create(t.Context(), qemu.ImageSpec{Path: image, SizeBytes: 8 << 20, ClusterBytes: qemu.FullClusterBytes, ExtendedL2: true}))
	agenttest.Must(t, os.Chmod(image, 0o644))
	_, err := w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: b.ID})
	if err == nil || !strings.Contains(err.Error(), "is encrypted: false") {
		t.Errorf("a restore: %v", err)
	}
	if _, err = w.Agent.Backups.Start(t.Context(), backup.Request{VMName: b.VM.Name, Type: record.Incremental, Repository: "main"}); fault.From(err) == nil ||
		fault.From(err).Reason != fault.NoParent {
		t.Errorf("an incremental: %v", err)
	}
}

// TestEncryptionBeginsWithAFull: no chain mixes encrypted images and others.
func TestEncryptionBeginsWithAFull(t *testing.T) {
	agenttest.GiveKeys(t, map[string]string{"key-1": agenttest.FirstKey})
	w := agenttest.New(t)
	vm, _ := w.PutVM("vm", 8<<20)
	for _, key := range []string{"", "key-1", ""} {
		var old []string
		if key == "" {
			old = []string{"key-1"}
		}
		w.Keys.Rotate(key, old...)
		_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: vm.Name, Type: record.Incremental, Repository: "main"})
		if e := fault.From(err); e == nil || e.Reason != fault.NoParent {
			t.Errorf("key %q: an incremental: %v", key, err)
		}
		if b := w.Point(vm.Name, record.Auto); b.Type != record.Full || b.Encrypted() != (key != "") {
			t.Errorf("key %q: %s, encrypted %v", key, b.Type, b.Encrypted())
		}
		if b := w.Point(vm.Name, record.Auto); b.Type != record.Incremental {
			t.Errorf("key %q: the second is %s", key, b.Type)
		}
	}
}

// TestKeyUnusable: without its key nothing starts. The error names the repository and the key, and says what to do. The SNA gets no
// request.
func TestKeyUnusable(t *testing.T) {
	give := agenttest.GiveKeys(t, map[string]string{"key-1": agenttest.FirstKey})
	w := agenttest.New(t, agenttest.Encrypted("key-1"))
	vm, sources := w.PutVM("vm", 8<<20)
	b := w.Point(vm.Name, record.Full)
	other, _ := w.PutVM("other", 8<<20)
	for _, c := range []struct{ what, content, want string }{
		{"missing", "", "is missing"},
		{"with a newline", agenttest.FirstKey + "\n", "newline"},
		{"short", "short", "5 bytes long"},
		{"binary", strings.Repeat("\x80", 40), "not a printable ASCII"},
		{"another", agenttest.SecondKey, "does not open"},
	} {
		give("key-1", c.content)
		for _, kind := range []record.Type{record.Full, record.Incremental, record.Auto} {
			_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: vm.Name, Type: kind, Repository: "main"})
			w.Keys.WantError(c.what+", "+string(kind), err, c.want)
		}
		if c.content != agenttest.SecondKey { // a VM without a restore point cannot reveal a wrong key
			_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: other.Name, Type: record.Full, Repository: "main"})
			w.Keys.WantError(c.what+", new VM", err, c.want)
		}
		for _, writable := range []bool{false, true} {
			_, err := w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: b.ID, Writable: writable})
			w.Keys.WantError(c.what+", restore", err, c.want)
		}
		w.Clean()
	}
	give("key-1", agenttest.FirstKey)
	w.Keys.Rotate("")
	_, err := w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: b.ID})
	w.Keys.WantError("not configured", err, "old_keys")
	w.Keys.Rotate("", "key-1")
	w.Restores.Compare(w.Restores.Serve(restore.Request{BackupID: b.ID}), agenttest.Freeze(t, sources))
	if n := len(w.SNA.State().PostsPerJob); n != 1 {
		t.Errorf("the SNA was asked for %d backups, want 1", n)
	}
}

// TestKeyMissingAtTheEnd: if a key disappears while a backup runs, the check of its image fails the backup. A restore point that nobody
// can open is none.
func TestKeyMissingAtTheEnd(t *testing.T) {
	give := agenttest.GiveKeys(t, map[string]string{"key-1": agenttest.FirstKey})
	w := agenttest.New(t, agenttest.Encrypted("key-1"))
	vm, _ := w.PutVM("vm", 8<<20)
	w.SNA.Hold("copy/0")
	b := w.StartBackup(vm.Name)
	give("key-1", "")
	w.SNA.Release("copy/0")
	if b = w.Wait(b.ID); b.State != record.Failed || b.Failure.Reason != string(fault.KeyUnavailable) {
		t.Errorf("%s: %+v", b.State, b.Failure)
	}
}

func shellOut(t testing.TB, format string, args ...any) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", fmt.Sprintf(format, args...)).Output()
	agenttest.Must(t, err)
	return string(out)
}
