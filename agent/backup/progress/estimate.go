package progress

import (
	"github.com/sendense/backup-agent/agent/record"
)

// nearlyAll is the largest fraction of a copy that is not complete: an estimate is never proof of the end.
const nearlyAll = 0.99

// TouchedBytes is more than the handshakes of the agent and of a client take on the wire.
const TouchedBytes = 64 << 10

// maxHistory is how many earlier incrementals an expectation is made of.
const maxHistory = 3

// An estimator says how much of a copy is done. It only computes. What it counts are bytes of the disks that are copied: in a full copy
// up to the capacity, in an incremental copy the changes. The sources, the best first: SBC's last report of its position, what the
// export received, and what earlier backups of the VM received. The allocated extents of a source disk are no source: no call of the SNA
// tells them. A whole copy needs none unless the exports accept WRITE_ZEROES, because it then receives every byte of the disk
// (docs/contract.md, "A full copy").
type estimator struct {
	backup   record.Backup
	zeroes   bool           // the exports accept WRITE_ZEROES: what they receive is less than what is copied
	told     *position      // nil if SBC reported nothing about the present disk
	expected map[int]uint64 // by disk id: what earlier copies of this kind received; no entry if there are none
}

// A position is SBC's last report, and how many disks were complete then: the report is about the next one.
type position struct {
	telemetry record.Telemetry
	complete  int
}

// progress adds up the disks. It fills in what each has copied, and is expected to copy.
func (e estimator) progress(disks []record.DiskProgress) record.Progress {
	p := record.Progress{Disks: disks, TotalBytes: e.backup.VM.TotalBytes()}
	present, complete := e.present(disks)
	if e.told != nil && e.told.complete != complete {
		e.told = nil
	}
	var expected int64
	for i := range disks {
		d := &disks[i]
		e.disk(d, i == present)
		p.ReceivedBytes += d.ReceivedBytes
		p.CopiedBytes += d.CopiedBytes
		expected += d.ExpectedBytes
		p.FractionUnknown = p.FractionUnknown || d.ExpectedBytes == 0
	}
	switch {
	case complete == len(disks) && complete > 0:
		p.Fraction, p.FractionUnknown = 1, false
	case p.FractionUnknown || expected == 0:
		p.FractionUnknown = true
	default:
		p.Fraction = min(float64(p.CopiedBytes)/float64(expected), nearlyAll)
	}
	return p
}

// present is the index of the disk that is being copied, as far as known, and how many are complete. SBC copies one after another.
func (e estimator) present(disks []record.DiskProgress) (index, complete int) {
	index = -1
	busy := 0
	for i, d := range disks {
		if d.Complete {
			complete++
			continue
		}
		if d.Clients > 0 || d.ReceivedBytes > TouchedBytes {
			index = i
			busy++
		}
	}
	if busy > 1 { // two at once: nobody knows which one a report is about
		return -1, complete
	}
	return index, complete
}

// disk fills in what one disk has copied and will copy; 0 is not known.
func (e estimator) disk(d *record.DiskProgress, present bool) {
	run := e.backup.Run(d.DiskID)
	received := int64(d.ReceivedBytes)
	before := int64(e.expected[d.DiskID])
	whole := run == nil || e.copiesWhole(*run, received)
	switch {
	case d.Complete && whole:
		d.CopiedBytes, d.ExpectedBytes = d.CapacityBytes, d.CapacityBytes
		return
	case d.Complete:
		d.CopiedBytes, d.ExpectedBytes = received, max(received, 1)
		return
	case whole:
		d.CopiedBytes, d.ExpectedBytes = min(received, d.CapacityBytes), d.CapacityBytes
		if e.zeroes { // what is received is no position
			e.thin(d, received, before)
		}
	default:
		d.CopiedBytes = received
		if before > 0 && received <= before {
			d.ExpectedBytes = before
		}
	}
	if present && e.told != nil && e.told.telemetry.BytesTransferred > 0 {
		e.reported(d, whole)
	}
}

// thin estimates the copy of a whole disk whose zeroes cost nothing: by what the last one received.
func (e estimator) thin(d *record.DiskProgress, received, before int64) {
	switch {
	case received <= TouchedBytes && d.Clients == 0: // it waits
		d.CopiedBytes = 0
	case before > 0 && received <= before:
		d.CopiedBytes = int64(float64(received) / float64(before) * float64(d.CapacityBytes))
	default:
		d.ExpectedBytes = 0
	}
}

// reported uses SBC's own count. Its total is in whole GiB for a whole disk, and 0 below, so the capacity is the better one.
func (e estimator) reported(d *record.DiskProgress, whole bool) {
	t := e.told.telemetry
	switch {
	case whole:
		d.CopiedBytes, d.ExpectedBytes = min(max(t.BytesTransferred, d.CopiedBytes), d.CapacityBytes), d.CapacityBytes
	case t.TotalBytes > 0 && t.BytesTransferred <= t.TotalBytes:
		d.CopiedBytes, d.ExpectedBytes = t.BytesTransferred, t.TotalBytes
	}
}

// copiesWhole reports whether a disk is copied from beginning to end. SBC decides that by itself. It asks for the change id of a disk
// after it has connected, and copies the whole disk if it does not ask.
func (e estimator) copiesWhole(run record.DiskRun, received int64) bool {
	switch {
	case run.Copied != "":
		return run.Copied == record.CopiedWhole
	case run.Content == record.WholeDisk || e.backup.Type == record.Full:
		return true
	}
	return !run.AsChanges && received > TouchedBytes
}

// expectations are what earlier backups received for each disk, of restore points of the VM with the newest first.
func expectations(b record.Backup, points []record.Backup) map[int]uint64 {
	sums, counts, list := map[int]uint64{}, map[int]int{}, map[int]uint64{}
	for _, p := range points {
		for _, before := range p.Runs {
			run := b.Run(before.DiskID)
			if run == nil || before.ReceivedBytes == 0 || before.CapacityBytes != run.CapacityBytes {
				continue
			}
			whole := before.Copied == record.CopiedWhole || before.Copied == "" && p.Type == record.Full
			switch {
			case whole != (b.Type == record.Full || run.Content == record.WholeDisk):
			case whole && counts[before.DiskID] == 0, !whole && counts[before.DiskID] < maxHistory:
				sums[before.DiskID] += before.ReceivedBytes
				counts[before.DiskID]++
			}
		}
	}
	for id, n := range counts {
		list[id] = sums[id] / uint64(n)
	}
	return list
}

// Recorded is the progress of the disks according to the record.
func Recorded(b record.Backup) []record.DiskProgress {
	disks := make([]record.DiskProgress, len(b.Runs))
	for i, d := range b.Runs {
		disks[i] = record.DiskProgress{
			DiskID: d.DiskID, ReceivedBytes: d.ReceivedBytes, CapacityBytes: d.CapacityBytes, Complete: d.Complete,
		}
	}
	return disks
}

// Summarize adds up the progress of the disks, without what only a job knows.
func Summarize(b record.Backup, disks []record.DiskProgress) record.Progress {
	return estimator{backup: b}.progress(disks)
}
