package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/rules"
)

func rename(b *record.Backup, l record.Lease) {
	b.Run(l.DiskID).Unit = unitOf(b.ID, l)
	b.Targets = "new"
}

func TestNewPort(t *testing.T) {
	s := openNew(t)
	b := mustPrepare(t, s, vmOf("a", 3), start)
	after, err := newPort(s, b.ID, 1, portsOf(10100, 10200), start.Add(time.Second), rename)
	if err != nil {
		t.Fatal(err)
	}
	if r := after.Run(1); r.Port != 10103 || r.Unit == b.Run(1).Unit || after.Targets != "new" || !after.UpdatedAt.After(b.UpdatedAt) {
		t.Errorf("got %+v", after)
	}
	if *after.Run(0) != *b.Run(0) || *after.Run(2) != *b.Run(2) {
		t.Errorf("other disks changed: %+v", after)
	}
	leases, err := s.Leases()
	if err != nil || len(leases) != 3 || leases[1].Port != 10102 || leases[2].Port != 10103 || leases[2].DiskID != 1 {
		t.Errorf("leases %+v, error %v", leases, err)
	}
	if b := mustPrepare(t, s, vmOf("b", 1), start); b.Runs[0].Port != 10104 {
		t.Errorf("the rotation went back to %d", b.Runs[0].Port)
	}
}

// A port whose cool-down is over is free for an exchange too.
func TestNewPortThatCooled(t *testing.T) {
	s := openNew(t)
	until := cooled(t, s).CooldownUntil // on 10100 and 10101
	b := mustPrepare(t, s, vmOf("b", 1), start)
	ports := portsOf(10100, 10102)
	if _, err := newPort(s, b.ID, 0, ports, until.Add(-1), rename); !errors.Is(err, errNoPort) {
		t.Errorf("before: %v", err)
	}
	if b, err := newPort(s, b.ID, 0, ports, until, rename); err != nil || b.Runs[0].Port != 10100 {
		t.Errorf("after: %+v, error %v", b.Runs, err)
	}
}

func TestNewPortRefused(t *testing.T) {
	s := openNew(t)
	b := mustPrepare(t, s, vmOf("a", 2), start)
	ports := portsOf(10100, 10200)
	for name, c := range map[string]struct {
		id       string
		disk     int
		ports    PortChooser
		complete func(*record.Backup, record.Lease)
		want     string
	}{
		"no backup":  {"x", 0, ports, rename, "not found"},
		"no disk":    {b.ID, 7, ports, rename, "not a disk of this backup"},
		"no port":    {b.ID, 0, portsOf(10100, 10101), rename, errNoPort.Error()},
		"old name":   {b.ID, 0, ports, func(*record.Backup, record.Lease) {}, "does not hold the nonce"},
		"other disk": {b.ID, 0, ports, func(b *record.Backup, l record.Lease) { rename(b, l); b.Runs[1].Port = 1 }, "cannot be changed"},
		"other unit": {b.ID, 0, ports, func(b *record.Backup, l record.Lease) { rename(b, l); b.Runs[1].Unit = "x" }, "cannot be changed"},
	} {
		if _, err := newPort(s, c.id, c.disk, c.ports, start, c.complete); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	step(t, s, b, record.Exporting, record.Calling)
	var state *rules.StateError
	if _, err := newPort(s, b.ID, 0, ports, start, rename); !errors.As(err, &state) || state.State != record.Calling {
		t.Errorf("while calling: %v", err)
	}
	if after, err := s.Backup(b.ID); err != nil || after.Runs[0] != b.Runs[0] {
		t.Errorf("got %+v, error %v", after, err)
	}
}
