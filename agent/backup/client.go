package backup

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/client"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// checkClient looks who is connected to which export, and fails when SBC is gone. Connections are looked at before it is asked
// whether a report is being recorded, and whether one was: SBC closes them once its report is answered.
func (r *run) checkClient(b record.Backup) (record.Backup, error) {
	clients, err := r.service.Exports.Connections.Since(r.began)
	if err != nil {
		return b, nil // nothing is known, so nothing is concluded; a callback tells of SBC as well
	}
	b = r.meet(b, clients)
	if b.SeenAt.IsZero() {
		return b, nil
	}
	limit := r.service.Config.Deadlines.ClientGone.Std()
	if r.reporting.Load() > 0 {
		r.presence = client.Presence{}
		return b, nil
	}
	if r.changed.Load() || limit <= 0 {
		return b, nil // the record is read again first
	}
	now := time.Now()
	r.presence.Note(b, clients, now)
	if r.presence.Alone(now) {
		r.inquiry.Ask(r.service.SNA, r.ID, client.AskEvery(limit)) // so that a failure can say what SBC reported
	}
	disk, gone := r.presence.Gone(b, now, limit)
	if !gone {
		return b, nil
	}
	_, last := r.inquiry.Answer()
	return b, r.orUnknownDisk(b.VM, client.GoneError(r.touched(b), disk, now.Sub(r.presence.At), last))
}

// touchedBytes is more than what our own handshake and that of a client cost on the wire.
const touchedBytes = 64 << 10

// touched marks the disks that have received something from a client that came and went between two looks, or while the agent was
// away, so that no failure says that nobody connected to them.
func (r *run) touched(b record.Backup) record.Backup {
	ctx, cancel := context.WithTimeout(r.Ctx, export.BusTimeout)
	defer cancel()
	disks, err := r.service.sample(ctx, b)
	if err != nil {
		return b
	}
	b.Runs = slices.Clone(b.Runs)
	for i := range b.Runs {
		b.Runs[i].Connected = b.Runs[i].Connected || disks[i].ReceivedBytes > touchedBytes
	}
	return b
}

// meet records which disks have a client for the first time: whatever became of the answer to the request, it did arrive.
func (r *run) meet(b record.Backup, clients map[uint16]int) record.Backup {
	found := false
	for _, d := range b.Runs {
		found = found || clients[d.Port] > 0 && !d.Connected
	}
	if !found {
		return b
	}
	now, err := r.service.Records.Change(r.ID, func(b *record.Backup) error {
		for i := range b.Runs {
			b.Runs[i].Connected = b.Runs[i].Connected || clients[b.Runs[i].Port] > 0
		}
		return seen(b)
	})
	if err != nil {
		r.service.Log.Error("cannot record that the client is connected; it is tried again", logkey.BackupID, r.ID, logkey.Error, err)
		return b
	}
	return now
}

// cameAndWent is the failure of a run whose client nobody saw, though a disk has received something from it; nil for any other.
func (r *run) cameAndWent(b record.Backup) error {
	b = r.touched(b)
	if !slices.ContainsFunc(b.Runs, func(d record.DiskRun) bool { return d.Connected }) {
		return nil
	}
	_, last := r.inquiry.Answer()
	return client.GoneError(b, -1, time.Since(r.began), last)
}

// orUnknownDisk adds to the failure of a run whose SBC has ended between two disks, or before the first, what else may have ended it:
// it asks about a disk, then looks for its export, and ends when there is none.
func (r *run) orUnknownDisk(vm record.VM, err error) error {
	e := fault.From(err)
	if r.asked.Load() && e.DiskID == nil {
		e.Hint = "the client asked about its next disk and did not connect. vCenter may have a disk of the VM that is not on record (" +
			inventory.LookUpDisks(vm) + "), or the tunnel of the exports is down. " + strings.ToUpper(e.Hint[:1]) + e.Hint[1:]
	}
	return e
}

// heed takes what the SNA knows of a job for what it is: evidence that the request arrived. That it knows nothing is none.
func (r *run) heed(b record.Backup) record.Backup {
	if b.State != record.Unresolved {
		return b
	}
	if said, _ := r.inquiry.Answer(); !said.Reported {
		return b
	}
	now, err := r.service.Records.Change(r.ID, func(b *record.Backup) error {
		if b.State == record.Unresolved {
			b.State, b.AcceptedAt = record.Running, time.Now()
		}
		return nil
	})
	if err != nil {
		r.service.Log.Error("the SNA knows the job, but this cannot be recorded yet", logkey.BackupID, r.ID, logkey.Error, err)
		return b
	}
	return now
}

// checkSilence fails a run whose SBC has not connected and tells the SNA nothing new: one that has ended tells nobody. Where the
// outcome of the request is unknown, silence proves nothing: only deadlines.first_connection counts.
func (r *run) checkSilence(b record.Backup) error {
	if !b.SeenAt.IsZero() {
		return nil
	}
	said, last := r.inquiry.Answer()
	limit := r.service.Config.Deadlines.FirstReport.Std()
	if said.Reported {
		limit = r.service.Config.Deadlines.NextReport.Std()
	}
	r.inquiry.Ask(r.service.SNA, r.ID, client.AskEvery(cmp.Or(limit, time.Minute))) // without a deadline too: backup.get shows it
	if b.State != record.Running {
		return nil
	}
	if limit <= 0 || said.Same() < limit+client.MoreReaders(b, said) || said.Same() < r.service.slowStart(b) {
		return nil
	}
	if err := r.cameAndWent(b); err != nil {
		return err
	}
	return r.orUnknownDisk(b.VM, client.SilentError(b, said, last))
}

// slowStart is how long the SBC of a VM may be silent because that of its newest restore point took so long to connect: twice that
// time. It keeps a VM whose snapshots are slow from failing, without a longer wait for any other.
func (s *Service) slowStart(b record.Backup) time.Duration {
	point, found, err := s.Store.LatestCompleted(b.VM.Name, b.Repository)
	if err != nil || !found || point.CalledAt.IsZero() || point.SeenAt.IsZero() {
		return 0
	}
	return 2 * point.SeenAt.Sub(point.CalledAt) // a clock that was set between makes no harm: first_connection counts too
}
