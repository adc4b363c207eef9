package reconcile

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd/iomode"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// lostUnit is an exporter as systemd shows it.
func lostUnit(t *testing.T, image, exportName, name, address string) units.Unit {
	t.Helper()
	argv, err := qemu.ServerOptions{Image: image, Export: exportName, IO: iomode.Mode{Cache: "none", AIO: "threads"}}.Args()
	if err != nil {
		t.Fatal(err)
	}
	return units.Unit{
		Name: name, Slice: "sendense-nbd.slice", Argv: argv, ListenAddress: address, ActiveState: "active",
		InvocationID: "i-" + name, StartedAt: time.Unix(1_700_000_000, 0),
	}
}

func TestPlanLost(t *testing.T) {
	const id, unit = "backup-vm-1700000000", "sendense-nbd-backup-vm-1700000000-disk"
	repositories := []*storage.Repository{storage.New(storage.Options{Spec: storage.Spec{ID: "a", Path: "/a"}}), storage.New(storage.Options{Spec: storage.Spec{ID: "b", Path: "/b/repo"}})}
	image := func(disk string) string { return "/b/repo/vm/" + id + "/vm-disk" + disk + ".qcow2" }
	good := lostUnit(t, image("0"), "vm-disk0", unit+"0-0123abcd", "127.0.0.1:10101")
	second := lostUnit(t, image("1"), "vm-disk1", unit+"1-89abcdef", "127.0.0.1:10100")
	change := func(f func(*units.Unit)) units.Unit {
		u := good
		f(&u)
		return u
	}
	bad := map[string]units.Unit{
		"no such name":          change(func(u *units.Unit) { u.Name = unit + "0-xyz" }),
		`it is in slice "x"`:    change(func(u *units.Unit) { u.Slice = "x" }),
		`it is in slice ""`:     {Name: good.Name, SocketState: "active", ListenAddress: good.ListenAddress},
		"its command is not":    change(func(u *units.Unit) { u.Argv = []string{"/bin/sleep", "infinity"} }),
		"its socket: ":          change(func(u *units.Unit) { u.ListenAddress = "/run/x" }),
		"its socket listens on": change(func(u *units.Unit) { u.ListenAddress = "127.0.0.1:0" }),
		"not where images of backup backup-vm-1700000000 are": lostUnit(t, "/etc/vm-disk0.qcow2", "vm-disk0", good.Name, good.ListenAddress),
		"/b/repo/vm/x/":       lostUnit(t, "/b/repo/vm/x/vm-disk0.qcow2", "vm-disk0", good.Name, good.ListenAddress),
		"/b/repo/.failed/vm/": lostUnit(t, "/b/repo/.failed/vm/"+id+"/vm-disk0.qcow2", "vm-disk0", good.Name, good.ListenAddress),
		"/b/repository/vm/":   lostUnit(t, "/b/repository/vm/"+id+"/vm-disk0.qcow2", "vm-disk0", good.Name, good.ListenAddress),
	}
	for words, u := range bad {
		lost, left := planLost([]units.Unit{u}, "sendense-nbd.slice", repositories)
		if len(lost) != 0 || len(left) != 1 || !strings.Contains(left[0].reason, words) {
			t.Errorf("%s: %+v, left %+v", words, lost, left)
		}
	}
	lost, left := planLost([]units.Unit{second, good}, "sendense-nbd.slice", repositories)
	if len(lost) != 1 || len(left) != 0 {
		t.Fatalf("%+v, left %+v", lost, left)
	}
	b := lost[0].backup
	if b.ID != id || b.Repository != "b" || b.Directory != "/b/repo/vm/"+id || b.State != record.Undoing || b.Failure == nil || !b.DirectoryMade {
		t.Errorf("%+v", b)
	}
	want := []record.DiskRun{
		{DiskID: 0, Port: 10101, ExportName: "vm-disk0", Image: image("0"), Unit: good.Name, InvocationID: good.InvocationID},
		{DiskID: 1, Port: 10100, ExportName: "vm-disk1", Image: image("1"), Unit: second.Name, InvocationID: second.InvocationID},
	}
	if d := cmp.Diff(want, b.Runs); d != "" {
		t.Error(d)
	}
}
