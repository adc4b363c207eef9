package group

import (
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
)

var vms = []record.VM{
	{Name: "db-1", VCenter: "main", InventoryPath: "/DC1/vm/Production/DB/db-1"},
	{Name: "db-1-test", VCenter: "main", InventoryPath: "/DC1/vm/Test/db-1-test"},
	{Name: "db-2", VCenter: "other", InventoryPath: "/Europe/DC2/vm/Production/db-2"},
	{Name: "gone", VCenter: "main", InventoryPath: "/DC1/vm/Production/gone", MissingSince: time.Unix(1, 0)},
	{Name: "odd/[name]*", VCenter: "main", InventoryPath: "/DC1/vm/odd%2f[name]*"},
	{Name: "by hand", Tags: []string{"silver", "old"}},
}

func names(list []record.VM) string {
	var all []string
	for _, vm := range list {
		all = append(all, vm.Name)
	}
	return strings.Join(all, ", ")
}

// TestMembers: which VMs belong to a group.
func TestMembers(t *testing.T) {
	for _, tt := range []struct {
		group config.Group
		want  string
	}{
		{config.Group{VMs: []string{"*"}}, "by hand, db-1, db-1-test, db-2, odd/[name]*"},
		{config.Group{VMs: []string{"db-?"}}, "db-1, db-2"},
		{config.Group{VMs: []string{"db-*"}, Exclude: []string{"*-test"}}, "db-1, db-2"},
		{config.Group{VMs: []string{"DB-*"}}, ""}, // as vCenter, names have cases
		{config.Group{VMs: []string{`odd/\[name\]\*`}}, "odd/[name]*"},
		{config.Group{VMs: []string{"by hand", "db-2"}}, "by hand, db-2"},
		{config.Group{VCenters: []string{"main"}}, "db-1, db-1-test, odd/[name]*"},
		{config.Group{VCenters: []string{"main"}, VMs: []string{"db-*"}}, "db-1, db-1-test"},
		{config.Group{Datacenters: []string{"DC*"}}, "db-1, db-1-test, db-2, odd/[name]*"},
		{config.Group{Datacenters: []string{"DC2"}}, "db-2"},
		{config.Group{Folders: []string{"Production"}}, "db-1, db-2"}, // also what is in a folder below
		{config.Group{Folders: []string{"Production/*"}}, "db-1"},
		{config.Group{Folders: []string{"/Production/DB/", "Test"}}, "db-1, db-1-test"},
		{config.Group{Tags: []string{"gold", "sil*"}}, "by hand"},
		{config.Group{Tags: []string{"old"}, VCenters: []string{"main"}}, ""},
		{config.Group{Folders: []string{"*"}}, "db-1, db-1-test, db-2"}, // those in some folder
	} {
		if got := names(Union([]config.Group{tt.group}, vms)); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.group, got, tt.want)
		}
	}
	both := []config.Group{{VMs: []string{"db-1", "by*"}}, {Folders: []string{"Production"}}}
	if got := names(Union(both, vms)); got != "by hand, db-1, db-2" {
		t.Errorf("in two groups: %s", got)
	}
}

// TestWhy: the words say which rules made a VM a member, or excluded it.
func TestWhy(t *testing.T) {
	g := config.Group{VMs: []string{"x", "db-*", "gone"}, VCenters: []string{"main"}, Exclude: []string{"*-test"}}
	want := map[string]Member{
		"db-1":      {In: true, Why: `its name fits "db-*", it is in vCenter main`},
		"db-1-test": {Why: `excluded: its name fits "*-test"`},
		"gone":      {Why: "vCenter does not have it any more"},
	}
	for _, m := range Members(g, vms) {
		if w := want[m.VM.Name]; w.In != m.In || w.Why != m.Why {
			t.Errorf("%s: %v, %q; want %+v", m.VM.Name, m.In, m.Why, w)
		}
		delete(want, m.VM.Name)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}

// TestUngrouped: a VM that somebody may have forgotten is in no group. One that is excluded was not forgotten.
func TestUngrouped(t *testing.T) {
	groups := []config.Group{{VMs: []string{"db-*"}, Exclude: []string{"*-test"}}}
	if got := names(Ungrouped(groups, vms)); got != "odd/[name]*, by hand" {
		t.Errorf("%s", got)
	}
	if got := names(Ungrouped(nil, vms)); got != "db-1, db-1-test, db-2, odd/[name]*, by hand" {
		t.Errorf("without groups: %s", got)
	}
}

// TestRPO: the shortest of the groups counts, and only of those that the VM belongs to.
func TestRPO(t *testing.T) {
	groups := []config.Group{
		{VMs: []string{"db-*"}, RPO: config.DurationOf(26 * time.Hour)},
		{VMs: []string{"*"}},
		{VMs: []string{"db-1"}, RPO: config.DurationOf(5 * time.Hour)},
		{VMs: []string{"*"}, Exclude: []string{"db-2"}, RPO: config.DurationOf(200 * time.Hour)},
	}
	for i, want := range []time.Duration{5 * time.Hour, 26 * time.Hour, 26 * time.Hour} {
		if got := RPO(groups, vms[i]).Std(); got != want {
			t.Errorf("%s: %s, want %s", vms[i].Name, got, want)
		}
	}
}

// TestOf: a VM is in several groups, in one, or in none.
func TestOf(t *testing.T) {
	groups := []config.Group{{ID: "a", VMs: []string{"db-*"}}, {ID: "b", VCenters: []string{"main"}}, {ID: "c", Tags: []string{"old"}}}
	for i, want := range map[int]string{0: "a b", 2: "a", 3: "", 5: "c"} {
		if got := strings.Join(Of(groups, vms[i]), " "); got != want {
			t.Errorf("%s: %q, want %q", vms[i].Name, got, want)
		}
	}
}
