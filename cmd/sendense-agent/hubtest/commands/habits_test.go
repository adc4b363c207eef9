package commands_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// A backup and a restore can be named by the beginning of an id, as the newest one, and by a day; names of VMs may contain an @.
func TestReferences(t *testing.T) {
	h := hubtest.New(t)
	for _, vm := range []string{"pgtest1", "db@latest", "@"} {
		h.AddVM(vm, hubtest.DiskSize)
	}
	first := h.Point("pgtest1", rpc.Auto)
	newest := h.Point("pgtest1", rpc.Auto)
	odd := h.Point("db@latest", rpc.Auto)
	b, err := h.Dial().GetBackup(t.Context(), newest)
	hubtest.Must(t, err)
	day := b.CreatedAt.Local().Format(time.DateOnly)
	h.Steps(
		hubtest.Step([]string{"backup", "show", newest}, 0, newest, ""),
		hubtest.Step([]string{"backup", "show", "latest"}, 0, odd, "latest is "+odd),
		hubtest.Step([]string{"backup", "show", "pgtest1@latest"}, 0, newest, "pgtest1@latest is "+newest),
		hubtest.Step([]string{"backup", "verify", "pgtest1@" + day}, 0, newest, newest),
		hubtest.Step([]string{"backup", "wait", "pgtest1@latest"}, 0, newest, newest),
		hubtest.Step([]string{"backup", "show", "db@latest@latest"}, 0, odd, odd),
		hubtest.Step([]string{"backup", "show", "db@latest"}, 1, "", `there is no restore point of VM "db"`),
		hubtest.Step([]string{"backup", "show", "@@latest"}, 1, "", `there is no restore point of VM "@"`),
		hubtest.Step([]string{"backup", "show", "pgtest1@2001-02-03"}, 1, "", `no restore point of VM "pgtest1" that began on 2001-02-03 (`),
		hubtest.Step([]string{"backup", "show", "pgtest1@yesterday"}, 1, "", "want an id, or VM@latest, or VM@2026-11-30"),
		hubtest.Step([]string{"backup", "show", "backup-pgtest1-"}, 1, "", "ambiguous"),
		hubtest.Step([]string{"backup", "show", "backup-pgtest1-"}, 1, "", first+"  completed full of pgtest1"),
		hubtest.Step([]string{"backup", "show", "backup-db"}, 0, odd, "backup-db is "+odd),
		hubtest.Step([]string{"backup", "show", "backup-x"}, 1, "", `"backup-x" is not on record`),
		hubtest.Step([]string{"backup", "show", ""}, 1, "", "the id of the backup is empty"),
		hubtest.Step([]string{"restore", "start", "pgtest1@latest"}, 0, newest, newest),
		hubtest.Step([]string{"restore", "show", "latest"}, 0, newest, "latest is restore-"),
		hubtest.Step([]string{"restore", "show", "restore-pg"}, 0, newest, "restore-pg is restore-"),
		hubtest.Step([]string{"restore", "stop", "pgtest1@latest"}, 0, "has ended", "restore-pgtest1-"),
		hubtest.Step([]string{"restore", "disk", "pgtest1@latest", "0", filepath.Join(h.Dir, "copy.raw")}, 0, "of "+newest+" restored", newest),
	)
	running := h.Held("pgtest1", "copy/0")
	h.Steps(
		hubtest.Step([]string{"backup", "show", "pgtest1@latest"}, 0, newest, newest), // a restore point, and not the copy in progress
		hubtest.Step([]string{"backup", "cancel", "latest"}, 0, running, "latest is "+running),
	)
	h.Release("copy/0")
	started, err := h.Dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "@"}) // without a type
	hubtest.Must(t, err)
	if started.BackupType != rpc.Full {
		t.Errorf("the first backup is of type %q", started.BackupType)
	}
	h.Steps(
		hubtest.Step([]string{"backup", "wait", "@@latest"}, 0, started.BackupID, started.BackupID),
		hubtest.Step([]string{"backup", "show", "@@latest"}, 0, started.BackupID, started.BackupID),
	)
}

// What completes a reference.
func TestReferencesComplete(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	h.AddVM("web 1", hubtest.DiskSize)
	point := h.Point("pgtest1", rpc.Auto)
	b, err := h.Dial().GetBackup(t.Context(), point)
	hubtest.Must(t, err)
	day := b.CreatedAt.Local().Format(time.DateOnly)
	for _, tt := range []struct{ typed, want string }{
		{"lat", "latest"},
		{"pg", "pgtest1@latest"},
		{"pgtest1@", "pgtest1@latest pgtest1@" + day},
		{"pgtest1@2", "pgtest1@" + day},
		{"backup-pg", point},
		{"web 1@", ""},
		{"w", "web 1@latest"},
	} {
		_, stdout, _ := h.CTL("__complete", "backup", "show", tt.typed)
		var got []string
		for line := range strings.Lines(stdout) {
			if word, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); !strings.HasPrefix(word, ":") {
				got = append(got, word)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q: %q, want %q", tt.typed, got, tt.want)
		}
	}
	for name := range shells {
		s := startShell(t, name)
		s.types("sendensectl backup show pgtest1@lat\t\r")
		s.sees("pgtest1@latest is " + point)
	}
}

// Several VMs are started with one command. It says what became of each, and can be repeated.
func TestStartMany(t *testing.T) {
	h := hubtest.New(t)
	for _, vm := range []string{"web-1", "web-2", "a-web-3", "db"} {
		h.AddVM(vm, hubtest.DiskSize)
	}
	_, err := h.Dial().PutVM(t.Context(), rpc.VM{VMName: "web-0", InventoryPath: "/DC1/vm/web-0"}) // no disks
	hubtest.Must(t, err)
	start := func(code int, args ...string) map[string]string {
		t.Helper()
		got, stdout, stderr := h.CTL(append([]string{"backup", "start", "-o", "json"}, args...)...)
		var r struct {
			RequestID string `json:"request_id"`
			VMs       []struct {
				VMName   string `json:"vm_name"`
				Outcome  string
				BackupID string `json:"backup_id"`
				Failure  *rpc.Failure
			}
			Failed int
		}
		hubtest.Must(t, json.Unmarshal([]byte(stdout), &r))
		if got != code || r.Failed > 0 != (code != 0) || r.RequestID == "" {
			t.Errorf("%q: %d %s %s", args, got, stdout, stderr)
		}
		of := map[string]string{}
		for _, vm := range r.VMs {
			of[vm.VMName] = vm.Outcome + " " + vm.BackupID
			if vm.Failure != nil {
				of[vm.VMName] += string(vm.Failure.Reason)
			}
		}
		return of
	}
	backups := func() int {
		list, err := h.Dial().ListBackups(t.Context(), rpc.BackupQuery{})
		hubtest.Must(t, err)
		return len(list.Backups)
	}
	first := start(1, "--all", "--wait", "--request-id", "nightly")
	if len(first) != 5 || first["web-0"] != "not started vm_has_no_disks" || !strings.HasPrefix(first["db"], "completed backup-db-") || backups() != 4 {
		t.Errorf("all: %v, %d backups", first, backups())
	}
	if again := start(1, "--all", "--request-id", "nightly"); again["db"] != first["db"] || backups() != 4 {
		t.Errorf("the same again: %v, and %v first; %d backups", again, first, backups())
	}
	if some := start(0, "--vm", "web-[12]", "--vm", "d?", "--wait"); len(some) != 3 || backups() != 7 {
		t.Errorf("some: %v, %d backups", some, backups())
	}
	h.Steps(
		hubtest.Step(hubtest.Words("backup start --vm x*"), 1, "", `no VM on record matches "x*"; no backup was started`),
		hubtest.Step(hubtest.Words("backup start --vm ["), 2, "", `--vm "[": want the name of a VM, or a pattern`),
		hubtest.Step(hubtest.Words("backup start --all db"), 2, "", "not both"),
		hubtest.Step(hubtest.Words("backup start --vm web-0"), 1, "not started", "1 of 1 VMs failed"),
		hubtest.Step(hubtest.Words("backup start --vm db --wait"), 0, "completed", "completed"),
	)
	running := h.Held("db", "copy/0")
	if got := start(0, "--vm", "db"); got["db"] != "in progress "+running+"backup_in_progress" {
		t.Errorf("in progress: %v", got)
	}
	h.Release("copy/0")
}

// The list of VMs is read by vm import, however many there are, and whatever their names are.
func TestImportOfTheList(t *testing.T) {
	h := hubtest.New(t)
	c := h.Dial()
	names := []string{`quote"`, "it's", "back\\slash", "{", "[", "a,b", "büro", "データ", "  lead", "#hash", "vms", "line\u2028end", "<&>", "-dash", "a@latest"}
	for len(names) < 1100 {
		names = append(names, "vm-"+strings.Repeat("x", len(names)%7)+time.Duration(len(names)).String())
	}
	for i, name := range names {
		_, err := c.PutVM(t.Context(), rpc.VM{VMName: name, BackupInterval: "26h", UUID: name + "-uuid", Disks: []rpc.Disk{{CapacityBytes: int64(512 * (i + 1)), Label: name}}})
		hubtest.Must(t, err)
	}
	pipe := func() string {
		out, err := exec.Command("sh", "-c", "PATH="+filepath.Dir(hubtest.Program("sendensectl"))+":$PATH; sendensectl vm list -o json | sendensectl vm import - 2>&1").CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return string(out)
	}
	if got := pipe(); got != "0 VMs added, 0 replaced, 1100 unchanged, 0 refused\n" {
		t.Errorf("%q", got)
	}
	_, listed, _ := h.CTL("vm", "list", "-o", "json")
	for _, name := range names {
		hubtest.Must(t, c.RemoveVM(t.Context(), name))
	}
	cmd := exec.Command(hubtest.Program("sendensectl"), "vm", "import", "-")
	cmd.Stdin = strings.NewReader(listed)
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "1100 VMs added, 0 replaced, 0 unchanged, 0 refused\n" {
		t.Errorf("%v %s", err, out)
	}
	if _, again, _ := h.CTL("vm", "list", "-o", "json"); again != listed {
		t.Error("the list differs after the import")
	}
}
