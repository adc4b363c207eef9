package disaster_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"

	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestHubDied: of a hub the repository is left, and a file of export-settings. With these alone another hub has everything: restore points,
// VMs, policy and schedule; it serves, verifies, and goes on with incrementals where the first one ended.
func TestHubDied(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		h, newest := hubDies(t, "", nil)
		agent := h.Dial()
		h.Eventually("the schedule has verified an imported one", func() bool {
			b, err := agent.GetBackup(t.Context(), newest)
			hubtest.Must(t, err)
			return b.Verified != nil && !b.Verified.At.IsZero()
		})
		agent.Close()
		healthy(h)
	})
	t.Run("encrypted, the package has started the daemon", func(t *testing.T) {
		h, _ := hubDies(t, "encryption_key = \"backup-2026\"\n", func(h *hubtest.Hub) {
			db, err := store.Open(filepath.Join(h.Dir, "state", "agent.db"), store.Options{})
			hubtest.Must(h.T, err)
			hubtest.Must(h.T, db.Close())
		})
		healthy(h)
	})
}

// hubDies returns the other hub, and the newest restore point of the one that died.
func hubDies(t *testing.T, encryption string, installed func(*hubtest.Hub)) (h *hubtest.Hub, newest string) {
	credentials := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	if encryption != "" {
		hubtest.NewKey(t, filepath.Join(credentials, "backup-2026"))
	}
	h = hubtest.HealthyHub(t, encryption+`policy = "gold"
[sna]
cooldown = "0s"
[verify]
interval = "1m"
[[policy]]
id = "gold"
keep_last = 1
`)
	sources := h.AddVM("pgtest1", hubtest.DiskSize, hubtest.DiskSize)
	vm, err := h.Dial().GetVM(t.Context(), "pgtest1")
	hubtest.Must(t, err)
	vm.BackupInterval, vm.VMContextID = "192h", "context"
	_, err = h.Dial().PutVM(t.Context(), vm)
	hubtest.Must(t, err)
	h.Point("pgtest1", rpc.Full)
	newest = h.Point("pgtest1", rpc.Incremental)
	file := filepath.Join(t.TempDir(), "settings.json")
	key, err := age.GenerateX25519Identity() // a passphrase costs the race detector ten seconds each time
	hubtest.Must(t, err)
	settings(h, credentials, "", "export-settings --secrets --recipient "+key.Recipient().String()+" -o "+file) // the daemon runs

	h.Daemon.End(syscall.SIGKILL)
	hubtest.Must(t, os.RemoveAll(filepath.Join(h.Dir, "state")))
	hubtest.Must(t, os.Mkdir(filepath.Join(h.Dir, "state"), 0o700))
	hubtest.Must(t, os.Remove(h.Config))
	hubtest.Must(t, os.RemoveAll(credentials))
	if installed != nil {
		installed(h)
	}
	settings(h, credentials, key.String(), "import-settings --dry-run --identity-fd 0 "+file)
	settings(h, credentials, key.String(), "import-settings --identity-fd 0 "+file)
	hubtest.Must(t, os.MkdirAll(credentials, 0o700)) // as systemd makes it, even if there is nothing in it
	h.Boot()
	agent := h.Dial()
	h.Eventually("the restore points are imported", func() bool {
		r, err := agent.GetRepository(t.Context(), "main")
		hubtest.Must(t, err)
		return r.RestorePoints == 2 && r.Catalog.Import != nil && !r.Catalog.Importing && !r.Catalog.ComparedAt.IsZero()
	})
	h.Steps(
		hubtest.Step(hubtest.Words("status"), 0, "2 restore points and 0 VMs were imported", ""),
		hubtest.Step(hubtest.Words("vm show pgtest1"), 0, "192h", ""),
		hubtest.Step(hubtest.Words("backup prune --dry-run"), 0, "gold", ""),
	)
	disk := filepath.Join(t.TempDir(), "disk.raw")
	h.Steps(hubtest.Step(hubtest.Words("restore disk "+newest+" 1 "+disk), 0, "compared with the restore point", "comparing"))
	hubtest.SameDisk(t, sources[1], disk, "raw")
	next, err := h.Dial().GetBackup(t.Context(), h.Point("pgtest1", rpc.Incremental))
	hubtest.Must(t, err)
	if next.ParentBackupID != newest {
		t.Errorf("the next one is based on %q, want %s", next.ParentBackupID, newest)
	}
	agent.Close()
	return h, newest
}

// healthy fails the test if the doctor finds anything, and ends the hub.
func healthy(h *hubtest.Hub) {
	h.Helper()
	if list := hubtest.Troubles(h.Doctor()); len(list) > 0 {
		h.Errorf("the doctor finds %q", list)
	}
	h.NothingServed()
	h.End()
}

// settings runs a command of the agent with this input, and fails the test if it fails.
func settings(h *hubtest.Hub, credentials, input, command string) {
	h.Helper()
	line := hubtest.Program("sendense-agent") + " " + command + " --config " + h.Config + " --credential-store " + credentials
	cmd := exec.CommandContext(h.Context(), "sh", "-c", line)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.Fatalf("%s: %v: %s", command, err, out)
	}
}
