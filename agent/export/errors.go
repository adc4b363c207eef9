package export

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// maxForeignPorts bounds how many ports held by other processes one disk may run into.
const maxForeignPorts = 16

// ErrForeignPorts says that other processes hold whatever port is tried.
var ErrForeignPorts = fmt.Errorf("the last %d ports are all held by other processes", maxForeignPorts)

// DiskError makes an error about one disk of a backup, with its unit and the unit's last journal lines where there are any. It is the
// cause of ctx's end, once ctx has ended.
func DiskError(ctx context.Context, backupID string, reason fault.Reason, d record.DiskRun, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e := UnitError(reason, "backup "+backupID, d.DiskID, d.Unit, err)
	e.BackupID = backupID
	return e
}

// RefusalHint is what to do where a QEMU cannot refuse WRITE_ZEROES.
const RefusalHint = "set nbd.qemu_nbd to a qemu-nbd that has the block driver " + qemu.BlkdebugDriver + " (those of Debian and Ubuntu do), or, if the node's client " +
	"reads everything that it reports as zero, set sna.accept_write_zeroes. With any other client, restore points would lack data"

// UnitError makes an error about one disk of a backup or restore.
func UnitError(reason fault.Reason, of string, diskID int, unit string, err error) *fault.Error {
	if repositories.IsKeyError(err) {
		e := *fault.From(err)
		e.Message, e.DiskID = fmt.Sprintf("%s: disk %d: %s", of, diskID, e.Message), new(diskID)
		return &e
	}
	if repositories.IsNoSpace(err) {
		reason = fault.NoSpace // errorf knows it from a full state directory
	}
	e := fault.New(reason, "%s: disk %d: %w", of, diskID, err)
	e.DiskID = new(diskID)
	if reason != fault.ImageFailed {
		e.Unit = unit + ".service"
	}
	var start *units.StartError
	if errors.As(err, &start) {
		e.Journal = start.Journal
	}
	if qemu.CannotRefuse(strings.Join(e.Journal, "\n")) {
		e.Message = fmt.Sprintf("%s: disk %d: this QEMU cannot refuse WRITE_ZEROES, because it cannot use its driver %s: %v", of, diskID, qemu.BlkdebugDriver, err)
		e.Hint = RefusalHint
	}
	return e
}
