package client

import (
	"fmt"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/record"
)

// goneAfter is how long nobody must be connected to a disk that is neither complete nor untouched before SBC is gone. SBC connects
// to a disk once. In a full copy it holds a connection until its report is answered. In an incremental the connection that it copies
// over ends just before the report, and an older one, which it has forgotten, at any time: a report takes milliseconds, and one
// that waits for us is known.
const goneAfter = 10 * time.Second

// A presence is what a run has seen of SBC's connections, by the clock of the process. It is learned anew after a restart.
type Presence struct {
	At       time.Time         // when somebody was last connected to an export, or reported a disk
	complete int               // how many disks were complete at the last look
	left     map[int]time.Time // by disk: since when nobody is connected to it, though somebody was
}

func (p *Presence) Note(b record.Backup, clients map[uint16]int, now time.Time) {
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
	if connected || complete != p.complete || p.At.IsZero() {
		p.At, p.complete = now, complete
	}
}

// Alone says whether SBC may be gone.
func (p *Presence) Alone(now time.Time) bool {
	return len(p.left) > 0 || now.Sub(p.At) > export.PollInterval
}

// Gone says whether SBC is gone, and which disk it has left, or -1 when it was between two disks.
func (p *Presence) Gone(b record.Backup, now time.Time, limit time.Duration) (disk int, gone bool) {
	if b.AllComplete() {
		return -1, false
	}
	disk, between := -1, now.Sub(p.At) >= limit
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

func GoneError(b record.Backup, disk int, alone time.Duration, last Word) error {
	alone = alone.Round(time.Second)
	text := fmt.Sprintf("no client has been connected to any export for %s", alone)
	if disk >= 0 {
		text = fmt.Sprintf("the client closed its connections to disk %d before it reported the disk complete", disk)
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
	if last != (Word{}) {
		text += "; the client's last report to the SNA: " + last.String()
	}
	e := fault.New(fault.ClientGone, "backup %s: the backup client is gone: %s", b.ID, text)
	e.BackupID = b.ID
	if disk >= 0 {
		e.DiskID = &disk
	}
	e.Hint = "read the client's output in the SNA's log: it was killed, gave up, or lost the tunnel. " + snapshotHint(b)
	switch {
	case disk < 0 && len(untouched) > 0:
		e.Hint += ". A disk that was never connected to may no longer be a disk of the VM: " + inventory.LookUpDisks(b.VM)
	case disk >= 0 && (b.VM.Refresh == record.NoRefresh || b.RefreshError != ""):
		e.Hint += ". The client also gives up on a disk that is larger in vCenter than on record: " + inventory.LookUpDisks(b.VM)
	}
	return e
}
