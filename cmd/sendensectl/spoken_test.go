package main

import (
	"context"
	"strings"
	"testing"

	"github.com/creachadair/jrpc2/handler"

	"github.com/sendense/backup-agent/rpc"
)

// Hints name commands that can be typed, and these are there.
func TestHintsNameCommands(t *testing.T) {
	for method, command := range spoken {
		c, rest, err := newRoot(&app{}).Find(strings.Fields(command))
		if err != nil || len(rest) > 0 || c.HasSubCommands() {
			t.Errorf("%s: there is no command %q", method, command)
		}
	}
	for a := range spoken { // or it would depend on the order which of the two is replaced
		for b := range spoken {
			if a != b && strings.HasPrefix(a, b) {
				t.Errorf("%s begins as %s does", a, b)
			}
		}
	}
	socket := fakeAgent(t, handler.Map{
		rpc.MethodVMGet: handler.New(func(context.Context, rpc.VMRef) (rpc.VM, error) {
			return rpc.VM{}, wireError(rpc.NewError(rpc.ReasonVMNotFound, `vm "vm.list" is not on record`).WithHint("vm.list names the ones that are; register it with vm.put or vm.discover"))
		}),
	})
	const want = `sendensectl: vm "vm.list" is not on record
  sendensectl vm list names the ones that are; register it with sendensectl vm add or sendensectl vm discover
`
	if code, _, stderr := ctl(t, socket, "", "vm", "show", "vm.list"); code != exitFailed || stderr != want {
		t.Errorf("%d %q, want %q", code, stderr, want)
	}
}
