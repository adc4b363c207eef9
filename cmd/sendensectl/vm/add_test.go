package vm

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"

	"github.com/creachadair/jrpc2/handler"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/rpc"
)

func TestVMAdd(t *testing.T) {
	want := rpc.VM{
		VMName: "pg\x1b test", VMContextID: "ctx", InventoryPath: "/DC1/vm/pg", VCenter: "main",
		Disks: []rpc.Disk{
			{DiskID: 0, UnitNumber: 0, DeviceKey: 2000, CapacityBytes: 40 << 30, Label: "Hard disk 1"},
			{DiskID: 1, UnitNumber: 1, CapacityBytes: 1 << 30},
		},
	}
	var got atomic.Value
	socket := commandtest.FakeAgent(t, handler.Map{
		rpc.MethodVMPut: handler.New(func(_ context.Context, vm rpc.VM) rpc.VMPut {
			got.Store(vm)
			return rpc.VMPut{Created: true, VM: vm}
		}),
		rpc.MethodVMGet: handler.New(func(context.Context, rpc.VMRef) rpc.VM { return want }),
	})
	check := func(what string, code int, stdout, stderr string) {
		t.Helper()
		text, _ := json.Marshal(want)
		sent, _ := json.Marshal(got.Load())
		if code != exit.OK || string(sent) != string(text) || stdout != `vm pg\x1b test added with 2 disks, 41 GiB`+"\n" || stderr != "" {
			t.Errorf("%s: %d %q %q\nsent %s\nwant %s", what, code, stdout, stderr, sent, text)
		}
		got = atomic.Value{}
	}
	code, stdout, stderr := ctl(t, socket, "", "vm", "add", want.VMName, "--path", "/DC1/vm/pg", "--vcenter", "main", "--context-id", "ctx",
		"--disk", "id=0,unit=0,size=40GiB,key=2000,label=Hard disk 1", "--disk", "id=1,unit=1,size=1073741824")
	check("flags", code, stdout, stderr)

	_, shown, _ := ctl(t, socket, "", "vm", "show", "x", "-o", "json")
	code, stdout, stderr = ctl(t, socket, shown, "vm", "add", "-f", "-")
	check("what show printed", code, stdout, stderr)

	for _, bad := range []string{`{"vm_name":"a","diks":[]}`, `[]`, `{} {}`, ``} {
		if code, _, stderr := ctl(t, socket, bad, "vm", "add", "-f", "-"); code != exit.Usage {
			t.Errorf("%q: %d %s", bad, code, stderr)
		}
	}
}
