package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/handler"

	"github.com/sendense/backup-agent/rpc"
)

// Start a backup and print the result.
func Example() {
	socket, stop := exampleAgent() // rpc.DefaultSocket in a real program
	defer stop()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c, err := rpc.Dial(ctx, socket)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	started, err := c.StartBackup(ctx, rpc.StartRequest{
		VMName:       "test-vm",
		BackupType:   rpc.Full,
		RepositoryID: "main",
		RequestID:    "nightly-2026-01-02", // makes the call safe to repeat
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(started.BackupID, started.Status)
	for _, d := range started.DiskResults {
		fmt.Println(d.DiskID, d.NBDExportName, d.Status)
	}
	// Output:
	// backup-test-vm-1767312000 started
	// 0 test-vm-disk0 qemu_started
	// 1 test-vm-disk1 qemu_started
}

// Programs distinguish errors by their reason.
func ExampleError() {
	socket, stop := exampleAgent()
	defer stop()
	c, err := rpc.Dial(context.Background(), socket)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	_, err = c.GetBackup(context.Background(), "backup-gone-1")
	var refused *rpc.Error
	var lost *rpc.UnreachableError
	switch {
	case errors.As(err, &refused) && refused.Data.Reason == rpc.ReasonBackupNotFound:
		fmt.Println("there is no such backup")
	case errors.As(err, &refused):
		fmt.Println("refused:", refused, refused.Data.Hint)
	case errors.As(err, &lost):
		fmt.Println("no answer:", lost, lost.Hint())
	}
	// Output:
	// there is no such backup
}

func exampleAgent() (socket string, stop func()) {
	return fakeAgent(handler.Map{
		rpc.MethodBackupStart: handler.New(func(_ context.Context, r rpc.StartRequest) rpc.StartResponse {
			return rpc.StartResponse{
				BackupID: "backup-" + r.VMName + "-1767312000", VMName: r.VMName, Status: rpc.StatusStarted,
				DiskResults: []rpc.DiskResult{
					{DiskID: 0, NBDExportName: r.VMName + "-disk0", Status: rpc.QemuStarted},
					{DiskID: 1, NBDExportName: r.VMName + "-disk1", Status: rpc.QemuStarted},
				},
			}
		}),
		rpc.MethodBackupGet: handler.New(func(_ context.Context, r rpc.BackupRef) (rpc.Backup, error) {
			e := rpc.NewError(rpc.ReasonBackupNotFound, "backup "+r.BackupID+" is not on record")
			return rpc.Backup{}, jrpc2.Errorf(jrpc2.Code(e.Code), "%s", e.Message).WithData(e.Data)
		}),
	})
}
