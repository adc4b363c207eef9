package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/rpc"
)

// makeKey is what docs/operations.md says.
const makeKey = `(umask 077; head -c 48 /dev/urandom | base64 --wrap=0 > %s)`

// newKey makes a key as the documents say, and returns its content.
func newKey(t *testing.T, path string) string {
	t.Helper()
	command := strings.ReplaceAll(makeKey, "%s", path)
	guide, err := os.ReadFile("../../docs/operations.md")
	must(t, err)
	if documented := strings.ReplaceAll(makeKey, "%s", "/etc/credstore/backup-2026"); !strings.Contains(string(guide), documented) {
		t.Errorf("docs/operations.md does not say %s", documented)
	}
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	key, err := os.ReadFile(path)
	must(t, err)
	return string(key)
}

// encryptedHub is a hub whose daemon has a key, and the key.
func encryptedHub(t *testing.T) (h *hub, credentials, key string) {
	t.Helper()
	credentials = t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	key = newKey(t, filepath.Join(credentials, "backup-2026"))
	return healthyHub(t, "encryption_key = \"backup-2026\"\n[sna]\ncooldown = \"0s\""), credentials, key
}

// TestEncryptedRepository: full and incremental, the daemon's death in mid-copy, the loss of the database, a whole disk out of
// the chain: with a key all goes as without, and in the repository stands nothing of the disks.
func TestEncryptedRepository(t *testing.T) {
	h, _, key := encryptedHub(t)
	sources := h.addVM("pgtest1", diskSize, diskSize)
	first := h.held("pgtest1", "copy/0")
	h.daemon.end(syscall.SIGKILL)
	h.boot()
	h.release("copy/0")
	h.eventually("the backup ends", func() bool {
		b, err := h.dial().GetBackup(h.Context(), first)
		must(t, err)
		return b.State == rpc.Completed
	})
	id := h.point("pgtest1", rpc.Incremental)
	h.steps(
		step{words("repository list"), 0, "backup-2026", ""},
		step{words("repository show main"), 0, "backup-2026", ""},
		step{words("backup show " + id), 0, "encryption key:", ""},
	)
	h.daemon.end(syscall.SIGKILL)
	h.harm(func([]byte) []byte { return nil })
	h.boot()
	last := h.point("pgtest1", rpc.Incremental)
	for i, point := range []string{first, id, last} {
		file := filepath.Join(t.TempDir(), "disk.raw")
		h.steps(step{words("restore disk " + point + " 1 " + file), 0, "compared with the restore point", "comparing"})
		sameDisk(t, sources[1], file, "raw")
		if i == 0 {
			h.holdsNothing(sources, key)
		}
	}
	h.finds(h.doctor(), doctor.OK, "encryption", "main", "key backup-2026 opens")
	h.nothingServed()
}

// holdsNothing looks into every file of the hub for the disks, and for the key.
func (h *hub) holdsNothing(sources []string, key string) {
	h.Helper()
	samples := [][]byte{[]byte(key)}
	for _, source := range sources {
		content, err := os.ReadFile(source)
		must(h.T, err)
		for at := 0; at < len(content)/2; at += 1 << 20 { // the other half is zeroes
			samples = append(samples, content[at:at+32])
		}
	}
	images := 0
	for _, dir := range []string{"repository", "state"} {
		must(h.T, filepath.WalkDir(filepath.Join(h.dir, dir), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			for _, s := range samples {
				if bytes.Contains(content, s) {
					h.Errorf("%s holds what it must not", path)
					break
				}
			}
			if strings.HasSuffix(path, ".qcow2") {
				images++
			}
			return err
		}))
	}
	if images == 0 {
		h.Error("there was nothing to look into")
	}
	if strings.Contains(h.daemon.stderr(), key) {
		h.Error("the daemon's log tells the key")
	}
}

// TestKeyLost: whoever starts a backup or a restore without the key is told which key of which repository is missing and what to
// do; the doctor says it before; nothing is left behind and the SNA hears nothing.
func TestKeyLost(t *testing.T) {
	h, credentials, key := encryptedHub(t)
	h.addVM("pgtest1", diskSize)
	id := h.point("pgtest1", rpc.Full)
	path := filepath.Join(credentials, "backup-2026")
	for _, lost := range []struct{ what, content, says, doctor string }{
		{"missing", "", `repository main: encryption key "backup-2026" is missing`, "is missing"},
		{"another", strings.ToUpper(key), "does not open", "does not open"},
		{"with a newline", key + "\n", "newline", "newline"},
	} {
		must(t, os.RemoveAll(path))
		if lost.content != "" {
			must(t, os.WriteFile(path, []byte(lost.content), 0o400))
		}
		for _, command := range []string{"backup start pgtest1", "backup start pgtest1 --type full", "restore start " + id} {
			code, _, stderr := h.ctl(words(command)...)
			if code == 0 || !strings.Contains(stderr, lost.says) || !strings.Contains(stderr, "/etc/credstore/backup-2026") {
				t.Errorf("%s: %s: %d %s", lost.what, command, code, stderr)
			}
		}
		h.finds(h.doctor(), doctor.Error, "encryption", "main", lost.doctor)
	}
	h.nothingServed()
}

// TestDoctorOfKeys: modes, keys that are not configured any more, and what waits in the store to lock everybody out.
func TestDoctorOfKeys(t *testing.T) {
	h, _, key := encryptedHub(t)
	h.addVM("pgtest1", diskSize)
	h.point("pgtest1", rpc.Full)
	must(t, os.MkdirAll("/etc/credstore", 0o700))
	source := "/etc/credstore/backup-2026"
	must(t, os.WriteFile(source, []byte(key), 0o644))
	t.Cleanup(func() { _ = os.Remove(source) })
	h.finds(h.doctor(), doctor.Error, "encryption", "main", "mode 0644", "chmod 0600 "+source)
	must(t, os.Chmod(source, 0o600))
	h.finds(h.doctor(), doctor.OK, "encryption", "main", "opens")
	must(t, os.WriteFile(source, []byte(strings.ToUpper(key)), 0o600))
	h.finds(h.doctor(), doctor.Error, "encryption", "main", "is not the key that the daemon has")
	text, err := os.ReadFile(h.config)
	must(t, err)
	must(t, os.WriteFile(h.config, bytes.Replace(text, []byte("encryption_key"), []byte("#"), 1), 0o644))
	h.finds(h.doctor(), doctor.Error, "encryption", "main", "need key backup-2026, which is not configured", "old_keys")
}

// TestKeyThroughSystemd: with the packaged sandbox, a key goes from the credential store to the daemon, and from its
// credentials to an exporter. The doctor's trial stands for a backup.
func TestKeyThroughSystemd(t *testing.T) {
	h := healthyHub(t, `encryption_key = "backup-2026"`)
	must(t, os.MkdirAll("/etc/credstore", 0o700))
	t.Cleanup(func() { _ = os.Remove("/etc/credstore/backup-2026") })
	newKey(t, "/etc/credstore/backup-2026")
	text := generated(t, `[[repository]]`+"\n"+`id = "main"`+"\n"+`path = "/x"`+"\n"+`encryption_key = "backup-2026"`)[serviceDropIn]
	var grant string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "LoadCredential=") {
			grant = strings.TrimSpace(line)
		}
	}
	r := h.doctorWithin(t, "", "-p", grant, "-p", "BindPaths="+h.dir)
	h.finds(r, doctor.OK, "encryption", "main", "key backup-2026 can be read")
	h.finds(r, doctor.OK, "data-path", "main", "an image was made")
}
