package survival_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// encryptedHub is a hub whose daemon has a key, and the key.
func encryptedHub(t *testing.T) (h *hubtest.Hub, credentials, key string) {
	t.Helper()
	credentials = t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	key = hubtest.NewKey(t, filepath.Join(credentials, "backup-2026"))
	return hubtest.HealthyHub(t, "encryption_key = \"backup-2026\"\n[sna]\ncooldown = \"0s\""), credentials, key
}

// TestEncryptedRepository: full and incremental, the daemon's death in mid-copy, the loss of the database, a whole disk out of
// the chain: with a key all goes as without, and in the repository stands nothing of the disks.
func TestEncryptedRepository(t *testing.T) {
	h, _, key := encryptedHub(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize) // one disk: QEMU takes seconds for each encrypted image
	first := h.Held("pgtest1", "copy/0")
	h.Daemon.End(syscall.SIGKILL)
	h.Boot()
	h.Release("copy/0")
	h.Eventually("the backup ends", func() bool {
		b, err := h.Dial().GetBackup(h.Context(), first)
		hubtest.Must(t, err)
		return b.State == rpc.Completed
	})
	id := h.Point("pgtest1", rpc.Incremental)
	h.Steps(
		hubtest.Step(hubtest.Words("repository list"), 0, "backup-2026", ""),
		hubtest.Step(hubtest.Words("repository show main"), 0, "backup-2026", ""),
		hubtest.Step(hubtest.Words("backup show "+id), 0, "encryption key:", ""),
	)
	h.Daemon.End(syscall.SIGKILL)
	h.Harm(func([]byte) []byte { return nil })
	h.Boot()
	last := h.Point("pgtest1", rpc.Incremental)
	for i, point := range []string{first, id, last} {
		file := filepath.Join(t.TempDir(), "disk.raw")
		h.Steps(hubtest.Step(hubtest.Words("restore disk "+point+" 0 "+file), 0, "compared with the restore point", "comparing"))
		hubtest.SameDisk(t, sources[0], file, "raw")
		if i == 0 {
			holdsNothing(h, sources, key)
		}
	}
	h.Finds(h.Doctor(), doctor.OK, "encryption", "main", "key backup-2026 opens")
	h.NothingServed()
}

// holdsNothing looks into every file of the hub for the disks, and for the key.
func holdsNothing(h *hubtest.Hub, sources []string, key string) {
	h.Helper()
	samples := [][]byte{[]byte(key)}
	for _, source := range sources {
		content, err := os.ReadFile(source)
		hubtest.Must(h.T, err)
		for at := 0; at < len(content)/2; at += 1 << 20 { // the other half is zeroes
			samples = append(samples, content[at:at+32])
		}
	}
	images := 0
	for _, dir := range []string{"repository", "state"} {
		hubtest.Must(h.T, filepath.WalkDir(filepath.Join(h.Dir, dir), func(path string, e os.DirEntry, err error) error {
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
	if strings.Contains(h.Daemon.Stderr(), key) {
		h.Error("the daemon's log tells the key")
	}
}

// TestKeyLost: whoever starts a backup or a restore without the key is told which key of which repository is missing and what to
// do; the doctor says it before; nothing is left behind and the SNA hears nothing.
func TestKeyLost(t *testing.T) {
	h, credentials, key := encryptedHub(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	id := h.Point("pgtest1", rpc.Full)
	path := filepath.Join(credentials, "backup-2026")
	for _, lost := range []struct{ what, content, says, doctor string }{
		{"missing", "", `repository main: encryption key "backup-2026" is missing`, "is missing"},
		{"another", strings.ToUpper(key), "does not open", "does not open"},
		{"with a newline", key + "\n", "newline", "newline"},
	} {
		hubtest.Must(t, os.RemoveAll(path))
		if lost.content != "" {
			hubtest.Must(t, os.WriteFile(path, []byte(lost.content), 0o400))
		}
		for _, command := range []string{"backup start pgtest1", "backup start pgtest1 --type full", "restore start " + id} {
			code, _, stderr := h.CTL(hubtest.Words(command)...)
			if code == 0 || !strings.Contains(stderr, lost.says) || !strings.Contains(stderr, "/etc/credstore/backup-2026") {
				t.Errorf("%s: %s: %d %s", lost.what, command, code, stderr)
			}
		}
		h.Finds(h.Doctor(), doctor.Error, "encryption", "main", lost.doctor)
	}
	h.NothingServed()
}

// TestDoctorOfKeys: modes, keys that are not configured any more, and what waits in the store to lock everybody out.
func TestDoctorOfKeys(t *testing.T) {
	h, _, key := encryptedHub(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	h.Point("pgtest1", rpc.Full)
	hubtest.Must(t, os.MkdirAll("/etc/credstore", 0o700))
	source := "/etc/credstore/backup-2026"
	hubtest.Must(t, os.WriteFile(source, []byte(key), 0o644))
	t.Cleanup(func() { _ = os.Remove(source) })
	h.Finds(h.Doctor(), doctor.Error, "encryption", "main", "mode 0644", "chmod 0600 "+source)
	hubtest.Must(t, os.Chmod(source, 0o600))
	h.Finds(h.Doctor(), doctor.OK, "encryption", "main", "opens")
	hubtest.Must(t, os.WriteFile(source, []byte(strings.ToUpper(key)), 0o600))
	h.Finds(h.Doctor(), doctor.Error, "encryption", "main", "is not the key that the daemon has")
	text, err := os.ReadFile(h.Config)
	hubtest.Must(t, err)
	hubtest.Must(t, os.WriteFile(h.Config, bytes.Replace(text, []byte("encryption_key"), []byte("#"), 1), 0o644))
	h.Finds(h.Doctor(), doctor.Error, "encryption", "main", "need key backup-2026, which is not configured", "old_keys")
}

// TestKeyThroughSystemd: with the packaged sandbox, a key goes from the credential store to the daemon, and from its
// credentials to an exporter. The doctor's trial stands for a backup.
func TestKeyThroughSystemd(t *testing.T) {
	h := hubtest.HealthyHub(t, `encryption_key = "backup-2026"`)
	hubtest.Must(t, os.MkdirAll("/etc/credstore", 0o700))
	t.Cleanup(func() { _ = os.Remove("/etc/credstore/backup-2026") })
	hubtest.NewKey(t, "/etc/credstore/backup-2026")
	text := hubtest.Generated(t, `[[repository]]`+"\n"+`id = "main"`+"\n"+`path = "/x"`+"\n"+`encryption_key = "backup-2026"`)[hubtest.ServiceDropIn]
	var grant string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "LoadCredential=") {
			grant = strings.TrimSpace(line)
		}
	}
	r := h.DoctorWithin(t, "", "-p", grant, "-p", "BindPaths="+h.Dir)
	h.Finds(r, doctor.OK, "encryption", "main", "key backup-2026 can be read")
	h.Finds(r, doctor.OK, "data-path", "main", "an image was made")
}
