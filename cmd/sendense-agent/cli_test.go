package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/rpc"
)

// A step is one command line with what it must give.
type step struct {
	args   []string
	code   int
	stdout string // what standard output holds; "" for nothing at all
	stderr string
}

func (h *hub) steps(list ...step) {
	h.Helper()
	for _, s := range list {
		code, stdout, stderr := h.ctl(s.args...)
		bad := code != s.code || !strings.Contains(stdout, s.stdout) || !strings.Contains(stderr, s.stderr) ||
			(s.stdout == "") != (stdout == "") || (s.stderr == "") != (stderr == "")
		if bad {
			h.Errorf("sendensectl %s: code %d, want %d\nstdout %q, want …%s…\nstderr %q, want …%s…",
				strings.Join(s.args, " "), code, s.code, stdout, s.stdout, stderr, s.stderr)
		}
	}
}

func words(line string) []string { return strings.Fields(line) }

func TestCommandLine(t *testing.T) {
	h := newHub(t)
	sources := h.addVM("pgtest1", diskSize, diskSize)
	h.steps(
		step{words("status"), 0, "active backups:  0", ""},
		step{words("vm add pgtest2 --path /DC1/vm/pgtest2 --disk id=0,unit=0,size=8MiB"), 0, "vm pgtest2 added with 1 disk, 8 MiB", ""},
		step{words("vm list"), 0, "pgtest2", ""},
		step{words("vm show pgtest1"), 0, "16 MiB", ""},
		step{words("vm show nosuch"), 1, "", `vm "nosuch" is not on record`},
		step{words("vm remove pgtest2"), 0, "vm pgtest2 removed", ""},
		step{words("backup start nosuch"), 1, "", `vm "nosuch" is not on record`},
		step{words("backup start pgtest1 --type incremental"), 1, "", "full"},
		step{words("backup start pgtest1 --type differential"), 1, "", "backup_type: want full, incremental or auto"},
		step{words("backup start pgtest1 --repository nas"), 1, "", `repository "nas" is not configured`},
		step{words("backup start"), 2, "", "VM is missing"},
		step{words("backup strat pgtest1"), 2, "", "did you mean start?"},
		step{words("backup show nosuch"), 1, "", `"nosuch" is not on record`},
		step{words("backup watch nosuch"), 1, "", `"nosuch" is not on record`},
		step{words("backup list --state odd"), 1, "", "state: want queued"},
		step{words("status --socket /run/nosuch.sock"), 3, "", "there is no such socket"},
		step{words("repository list"), 0, "usable", ""},
		step{words("export list"), 0, "PORT", "no exports"},
		step{words("backup start pgtest1 --type auto --wait --request-id first"), 0, "state:       completed", "completed, 2 of 2 disks complete"},
		step{words("backup start pgtest1 --type auto --wait --rate-limit 100MiB"), 0, "incremental", "completed"},
		step{words("backup list --vm pgtest1 --state completed --limit 1"), 0, "BACKUP", "more follow: --cursor"},
		step{words("backup list --vm other"), 0, "BACKUP", "no such backups"},
		step{words("backup list --repository main --since 1h --state completed"), 0, "backup-pgtest1-", ""},
		step{words("backup list --repository nas -o json"), 0, `"backups": []`, ""},
		step{words("backup list --until 1h -o json"), 0, `"backups": []`, ""},
		step{words("backup list --since yesterday"), 2, "", "want a time such as"},
		step{words("repository show main"), 0, "usable", ""},
		step{words("repository show nas"), 1, "", `"nas" is not configured`},
	)
	h.importAndReport()
	code, stdout, stderr := h.ctl("backup", "start", "pgtest1", "--type", "auto", "--request-id", "first", "-o", "json")
	var again rpc.StartResponse
	if err := json.Unmarshal([]byte(stdout), &again); err != nil || code != 0 || again.Status != "completed" {
		t.Errorf("the same request again: %d %s %s", code, stdout, stderr)
	}
	page, err := h.dial().ListBackups(t.Context(), rpc.BackupQuery{})
	must(t, err)
	if len(page.Backups) != 2 {
		t.Fatalf("%d backups, want 2", len(page.Backups))
	}
	h.completes(page.Backups[1].BackupID, sources)
	h.steps(
		step{words("backup wait " + page.Backups[0].BackupID), 0, page.Backups[0].BackupID, "completed"},
		step{words("backup watch " + page.Backups[0].BackupID + " -o json"), 0, `"kind":"state"`, ""},
		step{words("backup delete " + page.Backups[0].BackupID), 2, "", "no terminal for the confirmation"},
		step{words("backup delete --yes " + page.Backups[1].BackupID), 1, "", page.Backups[0].BackupID + " stands on"},
		step{words("backup delete --yes " + page.Backups[0].BackupID), 0, "deleted", ""},
		step{words("backup delete --yes " + page.Backups[1].BackupID), 0, "deleted", ""},
		step{words("backup delete --yes " + page.Backups[1].BackupID), 0, "deleted", ""},
		step{words("backup delete --yes nosuch"), 1, "", `"nosuch" is not on record`},
	)
}

// importAndReport puts what is on record on record again, which changes nothing, and looks at the page.
func (h *hub) importAndReport() {
	h.Helper()
	_, listed, _ := h.ctl("vm", "list", "-o", "json")
	file, page := filepath.Join(h.dir, "vms.json"), filepath.Join(h.dir, "page.html")
	must(h.T, os.WriteFile(file, []byte(listed), 0o600))
	csv := filepath.Join(h.dir, "vms.csv")
	must(h.T, os.WriteFile(csv, []byte("vm_name,disk_id,unit_number,capacity\nnew,0,0,1GiB\nodd,0,0,1000\n"), 0o600))
	h.steps(
		step{[]string{"vm", "import", file}, 0, "0 VMs added, 0 replaced, 1 unchanged, 0 refused", ""},
		step{[]string{"vm", "import", "-n", csv}, 1, "the result would be: 1 VM added", csv + `:3: vm "odd": disk 0: capacity_bytes 1000`},
		step{words("vm show new"), 1, "", `"new" is not on record`},
		step{[]string{"vm", "import", csv}, 1, "1 VM added", "1 VM refused"},
		step{words("vm show new"), 0, "1 GiB", ""},
		step{words("vm remove new"), 0, "removed", ""},
		step{[]string{"report", "--html", page}, 0, "1 VM, 30 days", ""},
	)
	html, err := os.ReadFile(page)
	must(h.T, err)
	for _, want := range []string{"pgtest1", "1 of 1", "1 full, 1 incremental"} {
		if !strings.Contains(string(html), want) {
			h.Errorf("the page has no %q", want)
		}
	}
}

func TestBackupThatFails(t *testing.T) {
	h := newHub(t)
	h.addVM("pgtest1", diskSize)
	h.control("fault", nil, map[string][]string{"faults": {"refuse=500:no licence"}})
	h.steps(step{words("backup start pgtest1"), 1, "", "no licence"})
	h.control("fault", nil, map[string][]string{"faults": {}})
	id := h.held("pgtest1", "copy/0")
	waiting := start(t, program("sendensectl"), "backup", "wait", id)
	h.eventually("sendensectl watches", func() bool { return strings.Contains(waiting.stderr(), ": running") })
	h.steps(step{words("backup cancel " + id), 0, id, ""})
	if code, exited := waiting.exited(patient); !exited || code != 1 || !strings.Contains(waiting.stderr(), "was cancelled") {
		t.Errorf("wait: %v %d %s", exited, code, waiting.stderr())
	}
	h.release("copy/0")
}

// Ctrl-C stops the watching and not the backup.
func TestInterrupt(t *testing.T) {
	h := newHub(t)
	sources := h.addVM("pgtest1", diskSize)
	id := h.held("pgtest1", "copy/0")
	for _, tt := range []struct {
		args []string
		code int
	}{{words("backup watch " + id), 1}, {words("backup wait " + id), 1}, {words("backup watch --vm pgtest1"), 0}} {
		p := start(t, program("sendensectl"), tt.args...)
		h.eventually("sendensectl watches", func() bool { return strings.Contains(p.stderr(), ": running") })
		if code := p.end(syscall.SIGINT); code != tt.code || !strings.Contains(p.stderr(), "no longer watching; ") {
			t.Errorf("%q: %d %s", tt.args, code, p.stderr())
		}
	}
	h.release("copy/0")
	h.completes(id, sources)
}

// With room for one backup, the second is refused, or waits for its turn.
func TestQueue(t *testing.T) {
	h := newHub(t, "[limits]", "max_backups = 1")
	first, second := h.addVM("pgtest1", diskSize), h.addVM("pgtest2", diskSize)
	id := h.held("pgtest1", "copy/0")
	h.steps(step{words("backup start pgtest2"), 1, "", "1 backups run, as many as may"})
	c := h.dial()
	queued, err := c.StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest2", BackupType: rpc.Auto, Queue: true})
	must(t, err)
	if queued.Status != "queued" || len(queued.DiskResults) != 0 || queued.NBDTargetsString != "" {
		t.Errorf("%+v", queued)
	}
	h.steps(step{words("backup list --state queued"), 0, queued.BackupID, ""})
	h.release("copy/0")
	h.completes(id, first)
	h.completes(queued.BackupID, second)
}
