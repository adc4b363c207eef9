package main

import (
	"context"
	"strings"
	"testing"

	"github.com/creachadair/jrpc2/handler"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/rpc"
)

// TestEmptyLists: an empty list is reported on the standard error; the standard output holds only the list.
func TestEmptyLists(t *testing.T) {
	socket := commandtest.FakeAgent(t, handler.Map{
		rpc.MethodVMList:     handler.New(func(context.Context, rpc.VMQuery) rpc.VMPage { return rpc.VMPage{VMs: []rpc.VM{}} }),
		rpc.MethodBackupList: handler.New(func(context.Context, rpc.BackupQuery) rpc.BackupPage { return rpc.BackupPage{} }),
		rpc.MethodExportList: handler.New(func(context.Context, rpc.None) rpc.ExportList { return rpc.ExportList{} }),
	})
	for line, says := range map[string]string{
		"vm list":                 "no VMs on record; to add some: sendensectl vm discover, vm import or vm add\n",
		"backup list":             "no backups\n",
		"backup list --vm nosuch": "no such backups\n",
		"export list":             "no exports: no backup or restore is running\n",
		"export list -o json":     "",
	} {
		code, stdout, stderr := ctl(t, socket, "", strings.Fields(line)...)
		if code != exit.OK || stderr != says || says != "" && strings.Count(stdout, "\n") != 1 {
			t.Errorf("%s: %d %q %q", line, code, stdout, stderr)
		}
	}
}
