package main

import (
	"context"
	"strings"
	"testing"

	"github.com/creachadair/jrpc2/handler"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/rpc"
)

// TestHintsNameCommands: every command of a hint exists, with its flags.
func TestHintsNameCommands(t *testing.T) {
	for method, line := range hint.Names {
		words, flags, _ := strings.Cut(line, " --")
		c, rest, err := command.NewRoot(&command.App{}, nouns...).Find(strings.Fields(words))
		if err != nil || len(rest) > 0 || c.HasSubCommands() {
			t.Errorf("%s: there is no command %q", method, words)
		} else if flags != "" && c.Flags().Lookup(flags) == nil {
			t.Errorf("%s: %s has no flag %q", method, words, flags)
		}
		if got, want := hint.InCommands(method+", then wait"), "sendensectl "+line+", then wait"; got != want {
			t.Errorf("%s: the hint says %q, want %q", method, got, want)
		}
	}
	socket := commandtest.FakeAgent(t, handler.Map{
		rpc.MethodVMGet: handler.New(func(context.Context, rpc.VMRef) (rpc.VM, error) {
			return rpc.VM{}, commandtest.WireError(rpc.NewError(rpc.ReasonVMNotFound, `vm "vm.list" is not on record`).WithHint("vm.list shows the VMs on record; add it with vm.put or vm.discover"))
		}),
	})
	const want = `sendensectl: vm "vm.list" is not on record
  sendensectl vm list shows the VMs on record; add it with sendensectl vm add or sendensectl vm discover
`
	if code, _, stderr := ctl(t, socket, "", "vm", "show", "vm.list"); code != exit.Failed || stderr != want {
		t.Errorf("%d %q, want %q", code, stderr, want)
	}
}
