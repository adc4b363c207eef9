package client

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sendense/backup-agent/agent/record"
)

// asker is a backup of a test. Its disks have the ids 0, 1, … in the order in which they are copied, and ports of their own.
func asker(id string, kind record.Type, complete ...bool) record.Backup {
	b := record.Backup{ID: id, Type: kind, State: record.Running}
	for i, done := range complete {
		b.Runs = append(b.Runs, record.DiskRun{DiskID: i, Port: uint16(id[0])*100 + uint16(i), Complete: done, ParentChangeID: "52 " + id + "/1"})
	}
	return b
}

func TestAttribute(t *testing.T) {
	inc, full := record.Incremental, record.Full
	asked := asker("b", inc, false)
	asked.Runs[0].AsChanges = true
	for name, c := range map[string]struct {
		named   []record.Backup
		disk    int
		clients map[uint16]int // of "a" from 9700, of "b" from 9800
		settled string
		want    Question // its backup by id only
		id      string
	}{
		"nobody":                     {want: Question{}},
		"first disk":                 {named: []record.Backup{asker("a", inc, false, false)}, id: "a", want: Question{Disk: 0}},
		"first disk, connected":      {named: []record.Backup{asker("a", inc, false, false)}, clients: map[uint16]int{9700: 1}, id: "a", want: Question{Disk: 0, Exact: true}},
		"second disk":                {named: []record.Backup{asker("a", inc, true, false)}, id: "a", want: Question{Disk: 1}},
		"second disk, first lingers": {named: []record.Backup{asker("a", inc, true, false)}, clients: map[uint16]int{9700: 2}, id: "a", want: Question{Disk: 1}},
		"second disk, connected":     {named: []record.Backup{asker("a", inc, true, false)}, disk: 1, clients: map[uint16]int{9701: 1}, id: "a", want: Question{Disk: 1, Exact: true}},
		"second disk, a number that SBC cannot know": {named: []record.Backup{asker("a", inc, true, false)}, disk: 1, id: "a", want: Question{Disk: 1}},
		"one disk more":             {named: []record.Backup{asker("a", inc, true, true)}, want: Question{Over: []string{"a"}}},
		"one disk more, much later": {named: []record.Backup{asker("a", inc, true, true)}, settled: "a", want: Question{Over: []string{"a"}}},
		"two, one is copying":       {named: []record.Backup{asker("a", inc, false), asker("b", full, false)}, clients: map[uint16]int{9800: 1}, id: "a", want: Question{Disk: 0}},
		"two, one is connected":     {named: []record.Backup{asker("a", inc, false), asker("b", inc, true, false)}, clients: map[uint16]int{9700: 1, 9801: 1}, id: "a", want: Question{Disk: 0, Exact: true}},
		"two, the other has asked":  {named: []record.Backup{asker("a", inc, false), asked}, clients: map[uint16]int{9700: 1, 9800: 1}, id: "a", want: Question{Disk: 0, Exact: true}},
		"two, the other copies the disk of that number whole": {
			named: []record.Backup{asker("a", inc, false), asker("b", inc, false)}, clients: map[uint16]int{9800: 1},
		},
		"two, nothing tells":                             {named: []record.Backup{asker("a", inc, false), asker("b", inc, false)}},
		"two, both connected":                            {named: []record.Backup{asker("a", inc, false), asker("b", inc, false)}, clients: map[uint16]int{9700: 1, 9800: 1}},
		"two, one is complete and the other copies":      {named: []record.Backup{asker("a", inc, true), asker("b", full, false)}, clients: map[uint16]int{9800: 1}, want: Question{Over: []string{"a"}}},
		"two, one is complete, the other may ask":        {named: []record.Backup{asker("a", inc, true), asker("b", inc, false)}, want: Question{Over: []string{"a"}}},
		"two, one has long been complete, the other may": {named: []record.Backup{asker("a", inc, true), asker("b", inc, false)}, settled: "a", id: "b", want: Question{Disk: 0}},
		"two, both complete":                             {named: []record.Backup{asker("a", inc, true), asker("b", inc, true)}, want: Question{Over: []string{"a", "b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.clients == nil {
				c.clients = map[uint16]int{}
			}
			got := Attribute(c.named, c.disk, c.clients, func(id string) bool { return id == c.settled })
			id := ""
			if got.Backup != nil {
				id = got.Backup.ID
			}
			if id != c.id || got.Disk != c.want.Disk || got.Exact != c.want.Exact || !slices.Equal(got.Over, c.want.Over) {
				t.Errorf("of %q %+v, want of %q %+v", id, got, c.id, c.want)
			}
		})
	}
}

// TestAttributeNeverTakesAnothersDisk: whatever SBC processes do and whatever is known of the clients, a connected client gets the
// change id of the disk that it is connected to, or one that it cannot read. A full backup gets none. An answer before the
// connection may be of another disk: SBC then compares UUIDs, and here every disk has its own.
func TestAttributeNeverTakesAnothersDisk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3).Draw(t, "backups")
		named, clients := make([]record.Backup, n), map[uint16]int{}
		at := make([]int, n) // the disk that each SBC copies; the number of its disks when it has ended
		connected := make([]bool, n)
		for i := range named {
			kind := rapid.SampledFrom([]record.Type{record.Full, record.Incremental}).Draw(t, "type")
			named[i] = asker(string(rune('a'+i)), kind, make([]bool, rapid.IntRange(1, 3).Draw(t, "disks"))...)
			at[i] = rapid.IntRange(0, len(named[i].Runs)).Draw(t, "at")
			for j := range at[i] {
				named[i].Runs[j].Complete = true
			}
			if at[i] == len(named[i].Runs) {
				continue
			}
			// An SBC that copies a disk whole is connected too; one of a full backup never asks then.
			connected[i] = rapid.Bool().Draw(t, "connected")
			if connected[i] {
				named[i].Runs[at[i]].AsChanges = kind == record.Incremental && rapid.Bool().Draw(t, "has asked")
				clients[named[i].Runs[at[i]].Port] = 1
			}
		}
		walked := make([]record.Backup, n)
		for i, b := range named { // the disks may be copied in another order than expected
			walked[i] = b
			walked[i].Runs = rapid.Permutation(b.Runs).Draw(t, "order")
		}
		who := rapid.IntRange(0, n-1).Draw(t, "who asks")
		known := maps.Clone(clients)
		if rapid.Bool().Draw(t, "clients are not known") {
			known = nil
		}
		asksExactly := connected[who] && named[who].Type == record.Incremental && !named[who].Runs[at[who]].AsChanges
		disk := 0
		if asksExactly {
			disk = at[who]
		} else if connected[who] {
			return // it copies
		}
		q := Attribute(walked, disk, known, func(string) bool { return false })
		if q.Backup == nil || q.Backup.Type != record.Incremental {
			return // it is told to copy everything
		}
		d := q.Backup.Run(q.Disk)
		if d == nil {
			return
		}
		if asksExactly && d.Port != named[who].Runs[disk].Port {
			t.Fatalf("%s, connected to disk %d, is told the change id of disk %d of %s", named[who].ID, disk, q.Disk, q.Backup.ID)
		}
		if named[who].Type == record.Full && n == 1 {
			t.Fatalf("a full backup is told a change id: %+v", q)
		}
	})
}
