package agenttest

import (
	"io"
	"os"
	"slices"
	"testing"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/verify"
)

// An Instant is a restore point, with copies of the disks of its VM as they were then.
type Instant struct {
	record.Backup
	Disks []string
}

// Life makes a chain of five restore points. Data changes on every disk, a disk is added, one grows, and one is removed.
func (w Chains) Life(name string) (points []Instant) {
	w.Helper()
	vm, sources := w.PutVM(name, 48<<20, 32<<20)
	point := func() {
		b := w.Point(name, record.Auto)
		points = append(points, Instant{Backup: b, Disks: Freeze(w.TB, sources)})
	}
	point()
	Scribble(w.TB, sources[0], 3<<20)
	Scribble(w.TB, sources[1], 5<<20)
	point()
	Scribble(w.TB, sources[0], 3<<20+32<<10)
	Scribble(w.TB, sources[0], 20<<20)
	vm, sources = w.Disks.Add(vm, sources, 16<<20)
	point()
	Must(w.TB, os.Truncate(sources[1], 40<<20))
	vm.Disks[1].CapacityBytes = 40 << 20
	Scribble(w.TB, sources[1], 36<<20)
	Scribble(w.TB, sources[2], 1<<20)
	w.Disks.PutAgain(vm, sources)
	point()
	vm.Disks, sources = slices.Delete(vm.Disks, 0, 1), slices.Delete(sources, 0, 1)
	Scribble(w.TB, sources[0], 37<<20)
	w.Disks.PutAgain(vm, sources)
	point()
	return points
}

// Whole fails the test unless every restore point has the content that its VM had then.
func (w Chains) Whole(points ...Instant) {
	w.Helper()
	for _, i := range points {
		b, err := w.Agent.Records.Backup(i.ID)
		Must(w.TB, err)
		if b.State != record.Completed || !b.CreatedAt.Equal(i.CreatedAt) {
			w.Errorf("backup %s is %s, of %s", i.ID, b.State, b.CreatedAt)
		}
		for n, d := range b.Runs {
			if d.ChangeID != i.Runs[n].ChangeID {
				w.Errorf("backup %s: disk %d has the change id %s, had %s", i.ID, d.DiskID, d.ChangeID, i.Runs[n].ChangeID)
			}
		}
		if b.Encrypted() {
			r := w.Restores.Serve(restore.Request{BackupID: b.ID})
			w.Restores.Compare(r, i.Disks)
			w.Restores.Stop(r.ID)
		} else {
			w.ComparePoint(b, i.Disks)
		}
	}
	Must(w.TB, w.Store.Check(w.Context()))
}

// Verified fails the test unless a deep verification finds every file of a chain undamaged.
func (w Chains) Verified(id string) {
	w.Helper()
	v, err := w.Agent.Verifications.Start(verify.Request{BackupID: id, Deep: true})
	Must(w.TB, err)
	report, err := v.Wait(w.Context())
	Must(w.TB, err)
	if report.Result != record.VerifiedOK {
		w.Errorf("backup %s is %s: %+v", id, report.Result, report.Files)
	}
}

// FlipLast flips a bit near the end of an image. That is in data: the clusters of metadata are before it.
func FlipLast(t *testing.T, path string) {
	t.Helper()
	image, err := os.OpenFile(path, os.O_RDWR, 0)
	Must(t, err)
	defer image.Close()
	at, err := image.Seek(-4096, io.SeekEnd)
	Must(t, err)
	b := make([]byte, 1)
	_, err = image.ReadAt(b, at)
	Must(t, err)
	b[0] ^= 1
	_, err = image.WriteAt(b, at)
	Must(t, err)
}
