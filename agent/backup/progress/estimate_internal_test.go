package progress

import (
	"fmt"
	"testing"

	"github.com/sendense/backup-agent/agent/record"
)

const gib = 1 << 30

// one is a backup of one disk of 40 GiB of which so much came over the wire.
func one(kind record.Type, received uint64, asChanges bool) (record.Backup, []record.DiskProgress) {
	run := record.DiskRun{CapacityBytes: 40 * gib, Content: record.WholeDisk, AsChanges: asChanges}
	if kind == record.Incremental {
		run.Content = record.Changes
	}
	b := record.Backup{Type: kind, Runs: []record.DiskRun{run}}
	b.VM.Disks = []record.Disk{{CapacityBytes: run.CapacityBytes}}
	return b, []record.DiskProgress{{CapacityBytes: run.CapacityBytes, ReceivedBytes: received, Clients: 2}}
}

func told(copied, total int64) *position {
	return &position{record.Telemetry{BytesTransferred: copied, TotalBytes: total}, 0}
}

func TestEstimate(t *testing.T) {
	for _, tt := range []struct {
		name     string
		kind     record.Type
		received uint64
		changes  bool // SBC asked for the change id
		zeroes   bool // the wire carries no zeroes
		told     *position
		before   uint64 // earlier copies
		fraction string // ? = not known
		copied   int64
	}{
		{"full, zeroes are sent", record.Full, 10 * gib, false, false, nil, 0, "0.25", 10 * gib},
		{"thin, no report", record.Full, 2 * gib, false, true, nil, 0, "?", 2 * gib},
		{"thin, position reported", record.Full, 2 * gib, false, true, told(30*gib, 40*gib), 0, "0.75", 30 * gib},
		{"thin, below 1 GiB no total is reported", record.Full, 2 * gib, false, true, told(20*gib, 0), 0, "0.50", 20 * gib},
		{"thin, as the last full", record.Full, 2 * gib, false, true, nil, 8 * gib, "0.25", 10 * gib},
		{"thin, more than the last full", record.Full, 9 * gib, false, true, nil, 8 * gib, "?", 9 * gib},
		{"the first incremental", record.Incremental, gib, true, false, nil, 0, "?", gib},
		{"as the last incrementals", record.Incremental, gib, true, false, nil, 2 * gib, "0.50", gib},
		{"more than those", record.Incremental, 3 * gib, true, false, nil, 2 * gib, "?", 3 * gib},
		{"incremental, position reported", record.Incremental, gib, true, false, told(3*gib, 4*gib), 2 * gib, "0.75", 3 * gib},
		{"incremental, the report is beyond its total", record.Incremental, gib, true, false, told(5*gib, 4*gib), 2 * gib, "0.50", gib},
		{"incremental, copied whole", record.Incremental, 10 * gib, false, false, nil, 2 * gib, "0.25", 10 * gib},
		{"nothing yet", record.Incremental, 0, false, false, nil, 2 * gib, "0.00", 0},
		{"all is here and not reported", record.Full, 41 * gib, false, false, nil, 0, "0.99", 40 * gib},
	} {
		b, disks := one(tt.kind, tt.received, tt.changes)
		e := estimator{backup: b, zeroes: tt.zeroes, told: tt.told, expected: map[int]uint64{0: tt.before}}
		p := e.progress(disks)
		got := fmt.Sprintf("%.2f", p.Fraction)
		if p.FractionUnknown {
			got = "?"
		}
		if got != tt.fraction || p.CopiedBytes != tt.copied || p.FractionUnknown && p.Fraction != 0 {
			t.Errorf("%s: fraction %s, %d copied; want %s, %d", tt.name, got, p.CopiedBytes, tt.fraction, tt.copied)
		}
	}
}

// A report about one disk says nothing about the next one, and a complete disk counts with what was copied of it.
func TestEstimateOfTheNextDisk(t *testing.T) {
	b, disks := one(record.Full, 5*gib, false)
	b.Runs = append(b.Runs, b.Runs[0])
	b.Runs[1].DiskID, b.Runs[0].Complete = 1, true
	disks = append(disks, disks[0])
	disks[1].DiskID, disks[0].Complete, disks[0].Clients, disks[1].ReceivedBytes = 1, true, 0, 2*gib
	for told, want := range map[*position]float64{nil: 42.0 / 80, told(40*gib, 40*gib): 42.0 / 80, {record.Telemetry{BytesTransferred: 20 * gib}, 1}: 60.0 / 80} {
		p := estimator{backup: b, told: told}.progress(append([]record.DiskProgress(nil), disks...))
		if p.Fraction != want || p.FractionUnknown {
			t.Errorf("%+v: %v, want %v", told, p.Fraction, want)
		}
	}
}

func TestExpectations(t *testing.T) {
	run := func(id int, how record.Copied, received uint64) record.DiskRun {
		return record.DiskRun{DiskID: id, CapacityBytes: 40 * gib, Copied: how, ReceivedBytes: received}
	}
	points := []record.Backup{ // the newest first
		{Type: record.Incremental, Runs: []record.DiskRun{run(0, record.CopiedChanges, 300), run(1, record.CopiedWhole, 7000)}},
		{Type: record.Incremental, Runs: []record.DiskRun{run(0, record.CopiedChanges, 100)}},
		{Type: record.Full, Runs: []record.DiskRun{run(0, "", 9000), run(1, "", 8000)}},
		{Type: record.Incremental, Runs: []record.DiskRun{run(0, record.CopiedChanges, 200)}},
		{Type: record.Incremental, Runs: []record.DiskRun{run(0, record.CopiedChanges, 90000)}},
	}
	for kind, want := range map[record.Type]string{record.Incremental: "map[0:200]", record.Full: "map[0:9000 1:7000]"} {
		b := record.Backup{Type: kind, Runs: []record.DiskRun{run(0, "", 0), run(1, "", 0)}}
		if got := fmt.Sprint(expectations(b, points)); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}
