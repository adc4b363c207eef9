package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna"
)

// A glance is what one check of the connections and the record finds.
type glance struct {
	at       time.Duration
	clients  string // disks that have a client, such as "0", "01"
	complete string // disks that are complete
}

// TestPresence covers what a real SBC does. Only what it never does means that it is gone.
func TestPresence(t *testing.T) {
	const limit = 45 * time.Second
	s := time.Second
	for name, tt := range map[string]struct {
		seen []glance
		gone bool
		disk int
	}{
		"a full copy": {seen: []glance{
			{0, "0", ""}, {600 * s, "0", ""}, {601 * s, "", "0"}, {640 * s, "", "0"}, {641 * s, "1", "0"}, {642 * s, "", "01"}, {700 * s, "", "01"},
		}},
		"an incremental whose connections end before its report": {seen: []glance{
			{0, "0", ""}, {1 * s, "", ""}, {9 * s, "", ""}, {10 * s, "", "0"}, {11 * s, "1", "0"},
		}},
		"an incremental that keeps a forgotten connection": {seen: []glance{
			{0, "0", ""}, {1 * s, "0", "0"}, {100 * s, "0", "0"}, {200 * s, "01", "0"}, {300 * s, "0", "01"},
		}},
		"a disk that is complete when it is first seen": {seen: []glance{{0, "", "0"}, {44 * s, "", "0"}}},
		"reports that go on keep it alive":              {seen: []glance{{0, "", ""}, {44 * s, "", "0"}, {88 * s, "", "0"}}},
		"a gap in the midst of a disk":                  {seen: []glance{{0, "0", ""}, {1 * s, "", ""}, {10 * s, "", ""}, {11 * s, "0", ""}, {12 * s, "", ""}, {21 * s, "", ""}}},

		"killed in the midst of a disk":               {seen: []glance{{0, "0", ""}, {1 * s, "", ""}, {11 * s, "", ""}}, gone: true, disk: 0},
		"killed at the second disk":                   {seen: []glance{{0, "0", ""}, {1 * s, "1", "0"}, {2 * s, "", "0"}, {12 * s, "", "0"}}, gone: true, disk: 1},
		"left a disk without a report, at the next":   {seen: []glance{{0, "0", ""}, {1 * s, "1", ""}, {11 * s, "1", ""}}, gone: true, disk: 0},
		"killed between two disks":                    {seen: []glance{{0, "0", ""}, {1 * s, "", "0"}, {46 * s, "", "0"}}, gone: true, disk: -1},
		"never came to the first disk it reported of": {seen: []glance{{0, "", ""}, {45 * s, "", ""}}, gone: true, disk: -1},
	} {
		t.Run(name, func(t *testing.T) {
			var p Presence
			b := record.Backup{Runs: []record.DiskRun{{DiskID: 0, Port: 10100}, {DiskID: 1, Port: 10101}}}
			start := time.Now()
			for i, g := range tt.seen {
				clients := map[uint16]int{}
				for _, d := range g.clients {
					clients[10100+uint16(d-'0')] = 2
					b.Runs[d-'0'].Connected = true
				}
				for _, d := range g.complete {
					b.Runs[d-'0'].Complete = true
				}
				p.Note(b, clients, start.Add(g.at))
				disk, gone := p.Gone(b, start.Add(g.at), limit)
				if last := i == len(tt.seen)-1; gone != (tt.gone && last) || gone && disk != tt.disk {
					t.Errorf("at %s: gone %v, disk %d", g.at, gone, disk)
				}
			}
		})
	}
}

// TestInquiry: the same answer again continues its time. An answer that proves nothing neither continues it nor starts it again.
func TestInquiry(t *testing.T) {
	start := time.Now()
	phase := func(name string, percent float64) sna.JobProgress {
		return sna.JobProgress{Phase: name, Percentage: percent}
	}
	away := errors.New("connection refused")
	for name, tt := range map[string]struct {
		answers []any // one a second: SBC's report, or an error
		same    int   // seconds
		last    string
	}{
		"no answer":                 {[]any{away, away, context.DeadlineExceeded}, 0, ""},
		"no report":                 {[]any{sna.ErrUnknownJob, sna.ErrUnknownJob, sna.ErrUnknownJob}, 2, ""},
		"the same report":           {[]any{sna.ErrUnknownJob, phase("Creating Snapshot", 10), phase("Creating Snapshot", 10)}, 1, "Creating Snapshot, 10 %"},
		"another percentage":        {[]any{phase("Creating Snapshot", 10), phase("Creating Snapshot", 10), phase("Creating Snapshot", 15)}, 0, "Creating Snapshot, 15 %"},
		"the SNA is away meanwhile": {[]any{sna.ErrUnknownJob, away, away, sna.ErrUnknownJob}, 3, ""},
		"the SNA goes away":         {[]any{sna.ErrUnknownJob, sna.ErrUnknownJob, away, away}, 1, ""},
		"the SNA forgets it":        {[]any{phase("Initializing", 5), sna.ErrUnknownJob, sna.ErrUnknownJob}, 1, "Initializing, 5 %"},
		"a call that is not there":  {[]any{&sna.RefusedError{StatusCode: 404}, &sna.RefusedError{StatusCode: 404}}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var q Inquiry
			for i, a := range tt.answers {
				at := start.Add(time.Duration(i) * time.Second)
				switch a := a.(type) {
				case error:
					q.take(at, sna.JobProgress{}, a)
				case sna.JobProgress:
					q.take(at, a, nil)
				}
			}
			now, last := q.Answer()
			if now.Same() != time.Duration(tt.same)*time.Second || last.String() != tt.last {
				t.Errorf("the same for %s, last %q", now.Same(), last)
			}
		})
	}
}

// TestLookUpDisks: the command in a hint can be typed as it is.
func TestLookUpDisks(t *testing.T) {
	for _, test := range []struct {
		vm   record.VM
		want string
	}{
		{record.VM{Name: "vm"}, "put all of its disks on record with vm.put"},
		{record.VM{Name: "vm", VCenter: "main", InventoryPath: "/DC1/vm/web-01"}, "run sendensectl vm discover main --filter web-01 --store"},
		{record.VM{Name: "vm", VCenter: "my vc", InventoryPath: "/DC1/vm/it's $1"}, `run sendensectl vm discover 'my vc' --filter 'it'\''s $1' --store`},
	} {
		if got := inventory.LookUpDisks(test.vm); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
}

// TestMoreReaders: the more disks, the longer the client may be silent, but only once it has its snapshot.
func TestMoreReaders(t *testing.T) {
	for _, test := range []struct {
		word  Word
		disks int
		want  time.Duration
	}{
		{Word{Phase: "Creating Snapshot", Percent: 15}, 10, time.Minute},
		{Word{Phase: "Creating Snapshot", Percent: 15}, 4, 0},
		{Word{Phase: "Creating Snapshot", Percent: 15}, 1, 0},
		{Word{Phase: "Creating Snapshot", Percent: 10}, 10, 0},
		{Word{Phase: "Initializing", Percent: 5}, 10, 0},
		{Word{}, 10, 0},
	} {
		if got := MoreReaders(record.Backup{Runs: make([]record.DiskRun, test.disks)}, Report{word: test.word}); got != test.want {
			t.Errorf("%s, %d disks: %s, want %s", test.word, test.disks, got, test.want)
		}
	}
}
