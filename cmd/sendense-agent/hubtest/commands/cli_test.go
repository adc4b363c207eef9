package commands_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

func TestCommandLine(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize, hubtest.DiskSize)
	h.Steps(
		hubtest.Step(hubtest.Words("status"), 0, "active backups:  0", ""),
		hubtest.Step(hubtest.Words("vm add pgtest2 --path /DC1/vm/pgtest2 --disk id=0,unit=0,size=8MiB"), 0, "vm pgtest2 added with 1 disk, 8 MiB", ""),
		hubtest.Step(hubtest.Words("vm list"), 0, "pgtest2", ""),
		hubtest.Step(hubtest.Words("vm show pgtest1"), 0, "16 MiB", ""),
		hubtest.Step(hubtest.Words("vm show nosuch"), 1, "", `vm "nosuch" is not on record`),
		hubtest.Step(hubtest.Words("vm remove pgtest2"), 0, "vm pgtest2 removed", ""),
		hubtest.Step(hubtest.Words("backup start nosuch"), 1, "", `vm "nosuch" is not on record`),
		hubtest.Step(hubtest.Words("backup start pgtest1 --type incremental"), 1, "", "full"),
		hubtest.Step(hubtest.Words("backup start pgtest1 --type differential"), 1, "", "backup_type: want full, incremental or auto"),
		hubtest.Step(hubtest.Words("backup start pgtest1 --repository nas"), 1, "", `repository "nas" is not configured`),
		hubtest.Step(hubtest.Words("backup start"), 2, "", "VM is missing"),
		hubtest.Step(hubtest.Words("backup strat pgtest1"), 2, "", "did you mean start?"),
		hubtest.Step(hubtest.Words("backup show nosuch"), 1, "", `"nosuch" is not on record`),
		hubtest.Step(hubtest.Words("backup watch nosuch"), 1, "", `"nosuch" is not on record`),
		hubtest.Step(hubtest.Words("backup list --state odd"), 1, "", "state: want queued"),
		hubtest.Step(hubtest.Words("status --socket /run/nosuch.sock"), 3, "", "there is no such socket"),
		hubtest.Step(hubtest.Words("repository list"), 0, "  ok  ", ""),
		hubtest.Step(hubtest.Words("export list"), 0, "PORT", "no exports"),
		hubtest.Step(hubtest.Words("backup start pgtest1 --type auto --wait --request-id first"), 0, "state:       completed", "completed, 2 of 2 disks complete"),
		hubtest.Step(hubtest.Words("backup start pgtest1 --type auto --wait --rate-limit 100MiB"), 0, "incremental", "completed"),
		hubtest.Step(hubtest.Words("backup list --vm pgtest1 --state completed --limit 1"), 0, "BACKUP", "more follow: --cursor"),
		hubtest.Step(hubtest.Words("backup list --vm other"), 0, "BACKUP", "no such backups"),
		hubtest.Step(hubtest.Words("backup list --repository main --since 1h --state completed"), 0, "backup-pgtest1-", ""),
		hubtest.Step(hubtest.Words("backup list --repository nas -o json"), 0, `"backups": []`, ""),
		hubtest.Step(hubtest.Words("backup list --until 1h -o json"), 0, `"backups": []`, ""),
		hubtest.Step(hubtest.Words("backup list --since yesterday"), 2, "", "want a time such as"),
		hubtest.Step(hubtest.Words("repository show main"), 0, "state:           ok\n", ""),
		hubtest.Step(hubtest.Words("repository show nas"), 1, "", `"nas" is not configured`),
	)
	importAndReport(h)
	code, stdout, stderr := h.CTL("backup", "start", "pgtest1", "--type", "auto", "--request-id", "first", "-o", "json")
	var again rpc.StartResponse
	if err := json.Unmarshal([]byte(stdout), &again); err != nil || code != 0 || again.Status != "completed" {
		t.Errorf("the same request again: %d %s %s", code, stdout, stderr)
	}
	page, err := h.Dial().ListBackups(t.Context(), rpc.BackupQuery{})
	hubtest.Must(t, err)
	if len(page.Backups) != 2 {
		t.Fatalf("%d backups, want 2", len(page.Backups))
	}
	h.Completes(page.Backups[1].BackupID, sources)
	h.Steps(
		hubtest.Step(hubtest.Words("backup wait "+page.Backups[0].BackupID), 0, page.Backups[0].BackupID, "completed"),
		hubtest.Step(hubtest.Words("backup watch "+page.Backups[0].BackupID+" -o json"), 0, `"kind":"state"`, ""),
		hubtest.Step(hubtest.Words("backup delete "+page.Backups[0].BackupID), 2, "", "no terminal for the confirmation"),
		hubtest.Step(hubtest.Words("backup delete --yes "+page.Backups[1].BackupID), 1, "", "is the parent of "+page.Backups[0].BackupID),
		hubtest.Step(hubtest.Words("backup delete --yes "+page.Backups[0].BackupID), 0, "deleted", ""),
		hubtest.Step(hubtest.Words("backup delete --yes "+page.Backups[1].BackupID), 0, "deleted", ""),
		hubtest.Step(hubtest.Words("backup delete --yes "+page.Backups[1].BackupID), 0, "deleted", ""),
		hubtest.Step(hubtest.Words("backup delete --yes nosuch"), 1, "", `"nosuch" is not on record`),
	)
}

// importAndReport puts what is on record on record again, which changes nothing, and looks at the page.
func importAndReport(h *hubtest.Hub) {
	h.Helper()
	_, listed, _ := h.CTL("vm", "list", "-o", "json")
	file, page := filepath.Join(h.Dir, "vms.json"), filepath.Join(h.Dir, "page.html")
	hubtest.Must(h.T, os.WriteFile(file, []byte(listed), 0o600))
	csv := filepath.Join(h.Dir, "vms.csv")
	hubtest.Must(h.T, os.WriteFile(csv, []byte("vm_name,disk_id,unit_number,capacity\nnew,0,0,1GiB\nodd,0,0,1000\n"), 0o600))
	h.Steps(
		hubtest.Step([]string{"vm", "import", file}, 0, "0 VMs added, 0 replaced, 1 unchanged, 0 refused", ""),
		hubtest.Step([]string{"vm", "import", "-n", csv}, 1, "the result would be: 1 VM added", csv+`:3: vm "odd": disk 0: capacity_bytes 1000`),
		hubtest.Step(hubtest.Words("vm show new"), 1, "", `"new" is not on record`),
		hubtest.Step([]string{"vm", "import", csv}, 1, "1 VM added", "1 VM refused"),
		hubtest.Step(hubtest.Words("vm show new"), 0, "1 GiB", ""),
		hubtest.Step(hubtest.Words("vm remove new"), 0, "removed", ""),
		hubtest.Step([]string{"report", "--html", page}, 0, "1 VM, 30 days", ""),
	)
	html, err := os.ReadFile(page)
	hubtest.Must(h.T, err)
	for _, want := range []string{"pgtest1", "1 of 1", "1 full, 1 incremental"} {
		if !strings.Contains(string(html), want) {
			h.Errorf("the page has no %q", want)
		}
	}
}

func TestBackupThatFails(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	h.Control("fault", nil, map[string][]string{"faults": {"refuse=500:no licence"}})
	h.Steps(hubtest.Step(hubtest.Words("backup start pgtest1"), 1, "", "no licence"))
	h.Control("fault", nil, map[string][]string{"faults": {}})
	id := h.Held("pgtest1", "copy/0")
	waiting := hubtest.Start(t, hubtest.Program("sendensectl"), "backup", "wait", id)
	h.Eventually("sendensectl watches", func() bool { return strings.Contains(waiting.Stderr(), ": running") })
	h.Steps(hubtest.Step(hubtest.Words("backup cancel "+id), 0, id, ""))
	if code, exited := waiting.Exited(hubtest.Patience); !exited || code != 1 || !strings.Contains(waiting.Stderr(), "was cancelled") {
		t.Errorf("wait: %v %d %s", exited, code, waiting.Stderr())
	}
	h.Release("copy/0")
}

// Ctrl-C stops the watching and not the backup.
func TestInterrupt(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	id := h.Held("pgtest1", "copy/0")
	for _, tt := range []struct {
		args []string
		code int
	}{{hubtest.Words("backup watch " + id), 1}, {hubtest.Words("backup wait " + id), 1}, {hubtest.Words("backup watch --vm pgtest1"), 0}} {
		p := hubtest.Start(t, hubtest.Program("sendensectl"), tt.args...)
		h.Eventually("sendensectl watches", func() bool { return strings.Contains(p.Stderr(), ": running") })
		if code := p.End(syscall.SIGINT); code != tt.code || !strings.Contains(p.Stderr(), "no longer watching; ") {
			t.Errorf("%q: %d %s", tt.args, code, p.Stderr())
		}
	}
	h.Release("copy/0")
	h.Completes(id, sources)
}

// With room for one backup, the second is refused, or waits for its turn.
func TestQueue(t *testing.T) {
	h := hubtest.New(t, "[limits]", "max_backups = 1")
	first, second := h.AddVM("pgtest1", hubtest.DiskSize), h.AddVM("pgtest2", hubtest.DiskSize)
	id := h.Held("pgtest1", "copy/0")
	h.Steps(hubtest.Step(hubtest.Words("backup start pgtest2"), 1, "", "the limit of parallel backups is reached"))
	c := h.Dial()
	queued, err := c.StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest2", BackupType: rpc.Auto, Queue: true})
	hubtest.Must(t, err)
	if queued.Status != "queued" || len(queued.DiskResults) != 0 || queued.NBDTargetsString != "" {
		t.Errorf("%+v", queued)
	}
	h.Steps(hubtest.Step(hubtest.Words("backup list --state queued"), 0, queued.BackupID, ""))
	h.Release("copy/0")
	h.Completes(id, first)
	h.Completes(queued.BackupID, second)
}
