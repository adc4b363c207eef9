package vm

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/creachadair/jrpc2/handler"
	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/rpc"
)

// catalog is a fake agent that keeps VMs, and refuses VMs without disks.
type catalog struct {
	mu   sync.Mutex
	vms  map[string]rpc.VM
	puts int

	grouped bool // a group chooses every VM that has a tag
}

func (c *catalog) serve(t *testing.T) string {
	c.vms = map[string]rpc.VM{}
	return commandtest.FakeAgent(t, handler.Map{
		rpc.MethodVMCheck: handler.New(func(_ context.Context, vm rpc.VM) (rpc.VMPut, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(vm.Disks) == 0 {
				return rpc.VMPut{}, commandtest.WireError(rpc.NewError(rpc.ReasonInvalidRequest, "vm "+vm.VMName+": no disks here"))
			}
			old, known := c.vms[vm.VMName]
			return rpc.VMPut{Created: !known, Unchanged: cmp.Equal(old, vm), VM: vm, Ungrouped: c.grouped && vm.Tags == nil}, nil
		}),
		rpc.MethodVMPut: handler.New(func(_ context.Context, vm rpc.VM) rpc.VMPut {
			c.mu.Lock()
			defer c.mu.Unlock()
			_, known := c.vms[vm.VMName]
			c.vms[vm.VMName] = vm
			c.puts++
			return rpc.VMPut{Created: !known, VM: vm, Ungrouped: c.grouped && vm.Tags == nil}
		}),
	})
}

const fleet = `# the database servers
vm_name,inventory_path,vcenter,tags,refresh,backup_interval,disk_id,unit_number,device_key,capacity,label
pg1,/DC1/vm/pg1,main,gold; db,prefer,26h,0,0,2000,40GiB,Hard disk 1
"böse, ""VM""",/DC1/vm/x,,,,,0,0,,1073741824,
pg1,,,,,,1,1,2016,500GiB,Hard disk 2
`

func TestImportCSV(t *testing.T) {
	var c catalog
	socket := c.serve(t)
	want := map[string]rpc.VM{
		"pg1": {VMName: "pg1", InventoryPath: "/DC1/vm/pg1", VCenter: "main", Refresh: "prefer", BackupInterval: "26h", Tags: []string{"gold", "db"}, Disks: []rpc.Disk{
			{DeviceKey: 2000, CapacityBytes: 40 << 30, Label: "Hard disk 1"},
			{DiskID: 1, UnitNumber: 1, DeviceKey: 2016, CapacityBytes: 500 << 30, Label: "Hard disk 2"},
		}},
		`böse, "VM"`: {VMName: `böse, "VM"`, InventoryPath: "/DC1/vm/x", Disks: []rpc.Disk{{CapacityBytes: 1 << 30}}},
	}
	for _, step := range []struct {
		args []string
		in   string
		says string
		puts int
	}{
		{[]string{"-n"}, fleet, "dry run, nothing was changed; the result would be: 2 VMs added, 0 replaced, 0 unchanged, 0 refused\n", 0},
		{nil, fleet, "2 VMs added, 0 replaced, 0 unchanged, 0 refused\n", 2},
		{nil, "\ufeff" + strings.ReplaceAll(fleet, "\n", "\r\n"), "0 VMs added, 0 replaced, 2 unchanged, 0 refused\n", 2},
		{[]string{"--format", "csv"}, strings.ReplaceAll(fleet, "500GiB", "600GiB"), "0 VMs added, 1 replaced, 1 unchanged, 0 refused\n", 3},
	} {
		code, stdout, stderr := ctl(t, socket, step.in, append([]string{"vm", "import", "-"}, step.args...)...)
		if code != exit.OK || stdout != step.says || stderr != "" || c.puts != step.puts {
			t.Errorf("%q: %d %q %q, %d puts", step.args, code, stdout, stderr, c.puts)
		}
		want["pg1"].Disks[1].CapacityBytes = 600 << 30
	}
	if diff := cmp.Diff(want, c.vms); diff != "" {
		t.Error(diff)
	}
}

// TestImportKnowsGroups: VMs that no group chooses are named, also by a dry run and if they are on record already.
func TestImportKnowsGroups(t *testing.T) {
	c := catalog{grouped: true}
	socket := c.serve(t)
	for _, args := range [][]string{{"vm", "import", "-", "-n"}, {"vm", "import", "-"}, {"vm", "import", "-"}} {
		code, stdout, stderr := ctl(t, socket, fleet, args...)
		if want := `1 VM is in no group: böse, "VM". No schedule backs up such a VM.`; code != exit.OK || !strings.Contains(stdout, want) {
			t.Errorf("%q: %d %q %q", args, code, stdout, stderr)
		}
	}
	_, stdout, _ := ctl(t, socket, fleet, "vm", "import", "-", "-o", "json")
	if strings.Count(stdout, `"ungrouped": true`) != 1 {
		t.Error(stdout)
	}
}

// TestImportRefuses: an error of one VM is printed with its line, and the other VMs are imported.
func TestImportRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		stored   int
		says     []string
	}{
		{"a row", "vm_name,disk_id,unit_number,capacity\na,0,0,1GiB\nb,0,x,1GiB\nb,1,1,1GiB\nc,0,0,\nd,0,0,1.5B\ne,0,0\n,0,0,1GiB\nf,0,0,1GiB,more\n", 1, []string{
			`-:3: vm "b": column unit_number: "x": want a whole number`, `-:5: vm "c": column capacity: the value is missing: a disk requires disk_id, unit_number, capacity`,
			`-:6: vm "d": column capacity: size "1.5B"`, `-:7: vm "e": 3 cells, but the heading has 4: no cell for column capacity`,
			`-:8: vm "": column vm_name: the name is missing`, `-:9: vm "f": 5 cells, but the heading has 4: cell "more" has no column`, "6 VMs refused",
		}},
		{"words", "vm_name,refresh,backup_interval\na,always,\nb,,daily\n", 0, []string{
			`-:2: vm "a": column refresh: "always": want prefer or require, or an empty cell`, `-:3: vm "b": column backup_interval: "daily": want a time such as 26h`,
		}},
		{"tags that disagree", "vm_name,tags,disk_id,unit_number,capacity\na,x,0,0,1GiB\na,y,1,1,1GiB\n", 0, []string{`-:3: vm "a": column tags: "y", but "x" in an earlier row`}},
		{"rows that disagree", "vm_name,vcenter,disk_id,unit_number,capacity\na,x,0,0,1GiB\na,y,1,1,1GiB\n", 0, []string{`-:3: vm "a": column vcenter: "y", but "x" in an earlier row`}},
		{"the agent", "vm_name\na\n", 0, []string{`-:2: vm a: no disks here`}},
		{"a list", `[{"vm_name":"a","disks":[{"disk_id":0,"unit_number":0,"capacity_bytes":512}]},` + "\n" + `{"vm_name":"b","dsks":[]},` + "\n\n" + `{"vm_name":"a"}]`, 1, []string{
			`-:2: want a VM in the form of vm show -o json: unknown field "dsks"`, `-:4: vm "a" is already in line 1`,
		}},
		{"one after another", `{"vm_name":"a","disks":[{"disk_id":0,"unit_number":0,"capacity_bytes":512}]}` + "\n" + `7` + "\n" + `{"vms":[` + "\n" + `{"vm_name":1}]}`, 1, []string{
			`-:2: want a VM`, `-:4: want a VM in the form of vm show -o json: cannot unmarshal number`,
		}},
	} {
		var c catalog
		code, _, stderr := ctl(t, c.serve(t), tt.in, "vm", "import", "-")
		if code != exit.Failed || len(c.vms) != tt.stored {
			t.Errorf("%s: %d, %d stored", tt.name, code, len(c.vms))
		}
		for _, says := range tt.says {
			if !strings.Contains(stderr, says) {
				t.Errorf("%s: no %q in\n%s", tt.name, says, stderr)
			}
		}
	}
}

// TestImportBadFile: a file that cannot be parsed changes nothing.
func TestImportBadFile(t *testing.T) {
	for in, says := range map[string]string{
		"":                                  "-:1: the file is empty",
		"disk_id\n0\n":                      "-:1: no column vm_name: want a heading with vm_name and some of inventory_path, ",
		"vm_name,size\na,1\n":               `-:1: column 2: the name "size" is unknown: want vm_name, inventory_path, vcenter, refresh, backup_interval, tags, uuid, vm_context_id, disk_id, unit_number, device_key, capacity, label`,
		"vm_name,vm_name\na,1\n":            `column 2: the name "vm_name" is repeated`,
		"vm_name\na\n\"b\n":                 "-:3: character ",
		"[{\"vm_name\":\"a\"},\n{\"vm_name": "-:2: ",
		"{\"vm_name\":\"a\"}\nx":            "-:2: invalid character",
	} {
		var c catalog
		code, stdout, stderr := ctl(t, c.serve(t), in, "vm", "import", "-")
		if code != exit.Failed || stdout != "" || !strings.Contains(stderr, says) || c.puts != 0 {
			t.Errorf("%q: %d %q %q", in, code, stdout, stderr)
		}
	}
	var c catalog
	if code, _, stderr := ctl(t, c.serve(t), "", "vm", "import", "/nosuch"); code != exit.Failed || !strings.Contains(stderr, "no such file") {
		t.Errorf("%d %s", code, stderr)
	}
}

// TestImportOfAList: the list of one agent can be imported by another.
func TestImportOfAList(t *testing.T) {
	page := rpc.VMPage{VMs: []rpc.VM{{VMName: "a\n{", Disks: []rpc.Disk{{CapacityBytes: 512}}}, {VMName: "b", Disks: []rpc.Disk{{CapacityBytes: 512}}}}, NextCursor: "b"}
	text, err := json.MarshalIndent(page, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "vms.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var c catalog
	code, stdout, stderr := ctl(t, c.serve(t), "", "vm", "import", file, "-o", "json")
	var result struct {
		VMs []importedVM `json:"vms"`
	}
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || code != exit.OK || stderr != "" || len(result.VMs) != 2 || result.VMs[1].Line != 13 || result.VMs[0].Outcome != imported {
		t.Errorf("%v %d %q %q", err, code, stdout, stderr)
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(fleet), "auto")
	f.Add([]byte(`{"vms":[{"vm_name":"a"}]} [{}] 7`), "json")
	f.Add([]byte("vm_name,disk_id\n\"a\n\",0\n"), "csv")
	f.Fuzz(func(t *testing.T, data []byte, format string) {
		list, err := parseVMs(data, format)
		if err != nil && len(list) > 0 {
			t.Errorf("%v, and yet %d VMs", err, len(list))
		}
		lines := 1 + strings.Count(string(data), "\n")
		for _, v := range list {
			if v.Line < 1 || v.Line > lines || v.Error == "" && v.VMName == "" && v.vm.VMName != "" {
				t.Errorf("%+v, in %d lines", v, lines)
			}
		}
	})
}
