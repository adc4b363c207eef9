package main_test

import (
	"encoding/json"
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
		step{words("backup start"), 2, "", "accepts 1 arg"},
		step{words("backup strat pgtest1"), 2, "", "did you mean start?"},
		step{words("backup show nosuch"), 1, "", `"nosuch" is not on record`},
		step{words("backup watch nosuch"), 1, "", `"nosuch" is not on record`},
		step{words("backup list --state odd"), 1, "", "state: want queued"},
		step{words("status --socket /run/nosuch.sock"), 3, "", "there is no such socket"},
		step{words("repository list"), 0, "usable", ""},
		step{words("export list"), 0, "PORT", ""},
		step{words("backup start pgtest1 --type auto --wait --request-id first"), 0, "state:       completed", "completed, 2 of 2 disks complete"},
		step{words("backup start pgtest1 --type auto --wait --rate-limit 100MiB"), 0, "incremental", "completed"},
		step{words("backup list --vm pgtest1 --state completed --limit 1"), 0, "BACKUP", "there are more: --cursor"},
		step{words("backup list --vm other"), 0, "BACKUP", ""},
	)
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
	)
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
	if code, exited := waiting.exited(patient); !exited || code != 1 || !strings.Contains(waiting.stderr(), "is cancelled") {
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
