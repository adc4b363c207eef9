package export

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// maxForeignPorts limits how many ports held by other processes are tried for one disk.
const maxForeignPorts = 16

// errForeignPorts reports that other processes hold every port that was tried.
var errForeignPorts = fmt.Errorf("the last %d ports are all held by other processes", maxForeignPorts)

// DiskError returns an error about one disk of a job's record, with its unit and the unit's last journal lines, if any. If the job has
// been canceled, it returns the cause of that instead.
func DiskError(j *job.Job, reason fault.Reason, disk Disk, err error) error {
	if j.Ctx.Err() != nil {
		return context.Cause(j.Ctx)
	}
	d := disk.Served()
	return UnitError(j, reason, d.DiskID, d.Unit, err)
}

// Gone returns the error about an exporter that has ended, with the last lines of its journal. how says how it ended.
func (m *Manager) Gone(j *job.Job, disk Disk, how string) error {
	d := disk.Served()
	e := UnitError(j, fault.ExporterFailed, d.DiskID, d.Unit, fmt.Errorf("exporter of %s: %s", d.ExportName, how))
	return m.WithJournal(j.Ctx, e, d.Unit)
}

// WithJournal adds the last lines of a unit's journal to an error.
func (m *Manager) WithJournal(ctx context.Context, e *fault.Error, unit string) error {
	ctx, cancel := context.WithTimeout(ctx, BusTimeout)
	defer cancel()
	var err error
	if e.Journal, err = m.Units.Journal(ctx, unit, journalLines); err != nil {
		e.Journal = []string{"(the journal cannot be read: " + err.Error() + ")"}
	}
	return e
}

// journalLines is how many of a unit's last journal lines an error carries.
const journalLines = 20

// RefusalHint is what to do if this QEMU cannot refuse WRITE_ZEROES.
const RefusalHint = "set nbd.qemu_nbd to a qemu-nbd that has the block driver " + qemu.BlkdebugDriver + " (those of Debian and Ubuntu do), or, if the node's client " +
	"reads everything that it reports as zero, set sna.accept_write_zeroes. With any other client, restore points would lack data"

// UnitError returns an error about a unit that serves or reads a disk of a job's record. The reason becomes NoSpace or KeyUnavailable if
// that is the cause.
func UnitError(j *job.Job, reason fault.Reason, diskID int, unit string, err error) *fault.Error {
	if repositories.IsKeyError(err) {
		e := *fault.From(err)
		e.Message, e.DiskID = fmt.Sprintf("%s: disk %d: %s", j, diskID, e.Message), new(diskID)
		return j.Of(&e)
	}
	if repositories.IsNoSpace(err) {
		reason = fault.NoSpace // fault.New tells it from a full state directory
	}
	e := fault.New(reason, "%s: disk %d: %w", j, diskID, err)
	e.DiskID = new(diskID)
	if reason != fault.ImageFailed {
		e.Unit = unit + ".service"
	}
	var start *units.StartError
	if errors.As(err, &start) {
		e.Journal = start.Journal
	}
	if qemu.CannotRefuse(strings.Join(e.Journal, "\n")) {
		e.Message = fmt.Sprintf("%s: disk %d: this QEMU cannot refuse WRITE_ZEROES, because it cannot use its driver %s: %v", j, diskID, qemu.BlkdebugDriver, err)
		e.Hint = RefusalHint
	}
	return j.Of(e)
}
