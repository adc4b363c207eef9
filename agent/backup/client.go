package backup

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/backup/progress"
	"github.com/sendense/backup-agent/agent/client"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// checkClient reads who is connected to which export, and fails if SBC is gone. It reads the connections first, then whether a
// report is being or was recorded: SBC closes its connections once its report is answered.
func (j *Job) checkClient(b record.Backup) (record.Backup, error) {
	clients, err := j.service.Exports.Connections.Since(j.began)
	if err != nil {
		return b, nil // nothing is known, so nothing is concluded; a callback also shows that SBC is there
	}
	b = j.noteConnected(b, clients)
	if b.SeenAt.IsZero() {
		return b, nil
	}
	limit := j.service.Config.Deadlines.ClientGone.Std()
	if j.reporting.Load() > 0 {
		j.presence = client.Presence{}
		return b, nil
	}
	if j.changed.Load() || limit <= 0 {
		return b, nil // read the record again first
	}
	now := time.Now()
	j.presence.Note(b, clients, now)
	if j.presence.Alone(now) {
		j.inquiry.Ask(j.service.SNA, j.ID, client.AskEvery(limit)) // so that an error can say what SBC reported
	}
	disk, gone := j.presence.Gone(b, now, limit)
	if !gone {
		return b, nil
	}
	_, last := j.inquiry.Answer()
	return b, j.orUnknownDisk(b.VM, client.GoneError(j.markTouched(b), disk, now.Sub(j.presence.At), last))
}

// markTouched marks the disks that have received data from a client that connected and left between two checks, or while the agent
// was stopped. So no error says that no client ever connected to them.
func (j *Job) markTouched(b record.Backup) record.Backup {
	ctx, cancel := context.WithTimeout(j.Ctx, export.BusTimeout)
	defer cancel()
	disks, err := j.service.sample(ctx, b)
	if err != nil {
		return b
	}
	b.Runs = slices.Clone(b.Runs)
	for i := range b.Runs {
		b.Runs[i].Connected = b.Runs[i].Connected || disks[i].ReceivedBytes > progress.TouchedBytes
	}
	return b
}

// noteConnected records which disks have a client for the first time. A connection proves that the request to the SNA arrived.
func (j *Job) noteConnected(b record.Backup, clients map[uint16]int) record.Backup {
	found := false
	for _, d := range b.Runs {
		found = found || clients[d.Port] > 0 && !d.Connected
	}
	if !found {
		return b
	}
	now, err := j.service.Records.Change(j.ID, func(b *record.Backup) error {
		for i := range b.Runs {
			b.Runs[i].Connected = b.Runs[i].Connected || clients[b.Runs[i].Port] > 0
		}
		return client.Seen(b)
	})
	if err != nil {
		j.service.Log.Error("cannot record that the client is connected; it is tried again", logkey.BackupID, j.ID, logkey.Error, err)
		return b
	}
	return now
}

// cameAndWent is the error of a backup whose client was never seen, although a disk received data from it. It is nil for any other.
func (j *Job) cameAndWent(b record.Backup) error {
	b = j.markTouched(b)
	if !slices.ContainsFunc(b.Runs, func(d record.DiskRun) bool { return d.Connected }) {
		return nil
	}
	_, last := j.inquiry.Answer()
	return client.GoneError(b, -1, time.Since(j.began), last)
}

// orUnknownDisk adds a second possible cause to the error of a backup whose SBC ended between two disks or before the first: SBC
// asks about a disk, looks for its export, and ends if there is none.
func (j *Job) orUnknownDisk(vm record.VM, err error) error {
	e := fault.From(err)
	if j.asked.Load() && e.DiskID == nil {
		e.Hint = "the client asked about its next disk and did not connect. vCenter may have a disk of the VM that is not on record (" +
			inventory.LookUpDisks(vm) + "), or the tunnel of the exports is down. " + strings.ToUpper(e.Hint[:1]) + e.Hint[1:]
	}
	return e
}

// resolveByReport sets an unresolved backup to running if the SNA knows a report of its job: that proves that the request arrived.
// If the SNA knows nothing, that proves nothing.
func (j *Job) resolveByReport(b record.Backup) record.Backup {
	if b.State != record.Unresolved {
		return b
	}
	if said, _ := j.inquiry.Answer(); !said.Reported {
		return b
	}
	now, err := j.service.Records.Change(j.ID, func(b *record.Backup) error {
		if b.State == record.Unresolved {
			b.State, b.AcceptedAt = record.Running, time.Now()
		}
		return nil
	})
	if err != nil {
		j.service.Log.Error("the SNA knows the job, but this cannot be recorded yet", logkey.BackupID, j.ID, logkey.Error, err)
		return b
	}
	return now
}

// checkSilence fails a backup whose SBC has not connected and reports nothing new to the SNA: an SBC that ends does not say so. If
// the outcome of the request is unknown, silence proves nothing, and only deadlines.first_connection counts.
func (j *Job) checkSilence(b record.Backup) error {
	if !b.SeenAt.IsZero() {
		return nil
	}
	said, last := j.inquiry.Answer()
	limit := j.service.Config.Deadlines.FirstReport.Std()
	if said.Reported {
		limit = j.service.Config.Deadlines.NextReport.Std()
	}
	j.inquiry.Ask(j.service.SNA, j.ID, client.AskEvery(cmp.Or(limit, time.Minute))) // also without a deadline: backup.get shows it
	if b.State != record.Running {
		return nil
	}
	if limit <= 0 || said.Same() < limit+client.MoreReaders(b, said) || said.Same() < j.service.slowStart(b) {
		return nil
	}
	if err := j.cameAndWent(b); err != nil {
		return err
	}
	return j.orUnknownDisk(b.VM, client.SilentError(b, said, last))
}

// slowStart is how long SBC may be silent because the VM's snapshots are slow: twice the time that the SBC of its newest restore
// point took to connect. So a slow VM does not fail, and no other VM waits longer.
func (s *Service) slowStart(b record.Backup) time.Duration {
	point, found, err := s.Store.LatestCompleted(b.VM.Name, b.Repository)
	if err != nil || !found || point.CalledAt.IsZero() || point.SeenAt.IsZero() {
		return 0
	}
	return 2 * point.SeenAt.Sub(point.CalledAt) // a change of the clock does no harm: first_connection counts too
}
