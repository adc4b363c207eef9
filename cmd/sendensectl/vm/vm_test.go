package vm

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/creachadair/jrpc2/handler"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/rpc"
)

// TestVMsTellTheirInterval: list and show contain the interval.
func TestVMsTellTheirInterval(t *testing.T) {
	vm := rpc.VM{VMName: "pg1", InventoryPath: "/DC1/vm/pg1", BackupInterval: "26h"}
	socket := commandtest.FakeAgent(t, handler.Map{
		rpc.MethodVMList: handler.New(func(context.Context, rpc.VMQuery) rpc.VMPage { return rpc.VMPage{VMs: []rpc.VM{vm}} }),
		rpc.MethodVMGet:  handler.New(func(context.Context, rpc.VMRef) rpc.VM { return vm }),
	})
	for verb, want := range map[string]*regexp.Regexp{
		"list":     regexp.MustCompile(`INTERVAL +VCENTER +PATH\npg1 .* 26h +/DC1/vm/pg1\n`),
		"show pg1": regexp.MustCompile(`interval: +26h\n`),
	} {
		code, stdout, stderr := ctl(t, socket, "", append([]string{"vm"}, strings.Fields(verb)...)...)
		if code != exit.OK || !want.MatchString(stdout) || stderr != "" {
			t.Errorf("vm %s: %d %q %q, want %s", verb, code, stdout, stderr, want)
		}
	}
}

// TestDiscoverStoresAllOrSaysSo: the exit code tells a script that a VM was not stored.
func TestDiscoverStoresAllOrSaysSo(t *testing.T) {
	good := rpc.DiscoveredVM{VM: rpc.VM{VMName: "pg1"}, Stored: true}
	bad := rpc.DiscoveredVM{VM: rpc.VM{VMName: "pg2"}, Error: "vm pg2: disks 0 and 1 have the same key 2000"}
	for _, tt := range []struct {
		found []rpc.DiscoveredVM
		flag  string
		code  int
		says  string
	}{
		{[]rpc.DiscoveredVM{good}, "--store", exit.OK, ""},
		{[]rpc.DiscoveredVM{good, bad}, "--store", exit.Failed, "1 VM of 2 not stored"},
		{[]rpc.DiscoveredVM{good, bad}, "--store=false", exit.OK, ""}, // nothing was to be stored
	} {
		socket := commandtest.FakeAgent(t, handler.Map{
			rpc.MethodVMDiscover: handler.New(func(context.Context, rpc.DiscoverRequest) rpc.DiscoverResponse {
				return rpc.DiscoverResponse{VMs: tt.found}
			}),
		})
		code, stdout, stderr := ctl(t, socket, "", "vm", "discover", "main", tt.flag)
		if code != tt.code || !strings.Contains(stderr, tt.says) || (tt.says == "") != (stderr == "") || !strings.Contains(stdout, tt.found[len(tt.found)-1].Error) {
			t.Errorf("%s: %d %q %q", tt.flag, code, stdout, stderr)
		}
	}
}
