package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// goneAfter is how long nobody must be connected to a disk that is neither complete nor untouched before SBC is gone. SBC connects
// to a disk once. In a full copy it holds a connection until its report is answered. In an incremental the connection that it copies
// over ends just before the report, and an older one, which it has forgotten, at any time: a report takes milliseconds, and one
// that waits for us is known.
const goneAfter = 10 * time.Second

// A presence is what a run has seen of SBC's connections, by the clock of the process. It is learned anew after a restart.
type presence struct {
	at       time.Time         // when somebody was last connected to an export, or reported a disk
	complete int               // how many disks were complete at the last look
	left     map[int]time.Time // by disk: since when nobody is connected to it, though somebody was
}

// checkClient looks who is connected to which export, and fails when SBC is gone. Connections are looked at before it is asked
// whether a report is being recorded, and whether one was: SBC closes them once its report is answered.
func (r *run) checkClient(b record.Backup) (record.Backup, error) {
	clients, err := r.agent.clients.since(r.began)
	if err != nil {
		return b, nil // nothing is known, so nothing is concluded; a callback tells of SBC as well
	}
	b = r.meet(b, clients)
	if b.SeenAt.IsZero() {
		return b, nil
	}
	limit := r.agent.config.Deadlines.ClientGone.Std()
	if r.reporting.Load() > 0 {
		r.presence = presence{}
		return b, nil
	}
	if r.changed.Load() || limit <= 0 {
		return b, nil // the record is read again first
	}
	now := time.Now()
	r.presence.note(b, clients, now)
	if r.presence.alone(now) {
		r.inquiry.ask(r.agent.sna, r.id, askEvery(limit)) // so that a failure can say what SBC reported
	}
	disk, gone := r.presence.gone(b, now, limit)
	if !gone {
		return b, nil
	}
	_, last := r.inquiry.answer()
	return b, r.orUnknownDisk(b.VM, goneError(r.touched(b), disk, now.Sub(r.presence.at), last))
}

// touchedBytes is more than what our own handshake and that of a client cost on the wire.
const touchedBytes = 64 << 10

// touched marks the disks that have received something from a client that came and went between two looks, or while the agent was
// away, so that no failure says that nobody connected to them.
func (r *run) touched(b record.Backup) record.Backup {
	ctx, cancel := context.WithTimeout(r.ctx, busTimeout)
	defer cancel()
	disks, err := r.agent.sample(ctx, b)
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
	now, err := r.agent.change(r.id, func(b *record.Backup) error {
		for i := range b.Runs {
			b.Runs[i].Connected = b.Runs[i].Connected || clients[b.Runs[i].Port] > 0
		}
		return seen(b)
	})
	if err != nil {
		r.agent.log.Error("a sign of life cannot be recorded, it is looked for again", logBackupID, r.id, logError, err)
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
	_, last := r.inquiry.answer()
	return goneError(b, -1, time.Since(r.began), last)
}

// orUnknownDisk adds to the failure of a run whose SBC has ended between two disks, or before the first, what else may have ended it:
// it asks about a disk, then looks for its export, and ends when there is none.
func (r *run) orUnknownDisk(vm record.VM, err error) error {
	e := AsError(err)
	if r.asked.Load() && e.DiskID == nil {
		e.Hint = "the client has asked about its next disk and did not connect: vCenter may have a disk of the VM that is not on record (" +
			lookUpDisks(vm) + "), or the tunnel of the exports is down. " + strings.ToUpper(e.Hint[:1]) + e.Hint[1:]
	}
	return e
}

// lookUpDisks says how the disks of a VM come to be on record as vCenter has them: a command that can be typed as it is.
func lookUpDisks(vm record.VM) string {
	if vm.VCenter == "" {
		return "put all of its disks on record with vm.put"
	}
	return "run sendensectl vm discover " + shellWord(vm.VCenter) + " --filter " + shellWord(segment(vm)) + " --store"
}

// shellWord quotes a word for a shell where it has to be.
func shellWord(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func (p *presence) note(b record.Backup, clients map[uint16]int, now time.Time) {
	complete, connected := 0, false
	for _, d := range b.Runs {
		switch {
		case clients[d.Port] > 0:
			connected = true
			delete(p.left, d.DiskID)
		case d.Complete || !d.Connected:
			delete(p.left, d.DiskID)
		case p.left[d.DiskID].IsZero():
			if p.left == nil {
				p.left = map[int]time.Time{}
			}
			p.left[d.DiskID] = now
		}
		if d.Complete {
			complete++
		}
	}
	if connected || complete != p.complete || p.at.IsZero() {
		p.at, p.complete = now, complete
	}
}

// alone says whether SBC may be gone.
func (p *presence) alone(now time.Time) bool { return len(p.left) > 0 || now.Sub(p.at) > pollInterval }

// gone says whether SBC is gone, and which disk it has left, or -1 when it was between two disks.
func (p *presence) gone(b record.Backup, now time.Time, limit time.Duration) (disk int, gone bool) {
	if b.AllComplete() {
		return -1, false
	}
	disk, between := -1, now.Sub(p.at) >= limit
	for _, d := range b.Runs {
		since, left := p.left[d.DiskID]
		if left {
			disk = d.DiskID
		}
		if left && now.Sub(since) >= goneAfter {
			return disk, true
		}
	}
	return disk, between
}

func goneError(b record.Backup, disk int, alone time.Duration, last clientWord) error {
	alone = alone.Round(time.Second)
	text := fmt.Sprintf("no client has been connected to any export for %s", alone)
	if disk >= 0 {
		text = fmt.Sprintf("the client has closed its connections to disk %d before it reported the disk complete", disk)
	}
	var missing, untouched []string
	for _, d := range b.Runs {
		if d.Complete {
			continue
		}
		name := fmt.Sprintf("disk %d (key %d)", d.DiskID, d.Key)
		missing = append(missing, name)
		if !d.Connected {
			untouched = append(untouched, name+" was never connected to")
		}
	}
	text = strings.Join(append([]string{text, "not complete: " + strings.Join(missing, ", ")}, untouched...), "; ")
	if last != (clientWord{}) {
		text += "; the client's last report to the SNA: " + last.String()
	}
	e := errorf(ClientGone, "backup %s: the backup client is gone: %s", b.ID, text)
	e.BackupID = b.ID
	if disk >= 0 {
		e.DiskID = &disk
	}
	e.Hint = "the SNA's log has the client's words: it was killed, gave up, or lost the tunnel. " + snapshotHint(b)
	switch {
	case disk < 0 && len(untouched) > 0:
		e.Hint += ". A disk that was never connected to may be no disk of the VM any more: " + lookUpDisks(b.VM)
	case disk >= 0 && (b.VM.Refresh == record.NoRefresh || b.RefreshError != ""):
		e.Hint += ". The client also gives up on a disk that is larger in vCenter than on record: " + lookUpDisks(b.VM)
	}
	return e
}
