package agent_test

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/record"
)

// An instant is a restore point, and the disks of its VM as they were then.
type instant struct {
	record.Backup
	disks []string
}

// life makes a chain of five restore points of a VM to which everything happens: data changes on every disk, a disk is added, one
// grows, and one is removed.
func (w *world) life(name string) (chain []instant) {
	w.Helper()
	vm, sources := w.putVM(name, 48<<20, 32<<20)
	point := func() {
		b := w.point(name, record.Auto)
		chain = append(chain, instant{b, freeze(w.TB, sources)})
	}
	point()
	scribble(w.TB, sources[0], 3<<20)
	scribble(w.TB, sources[1], 5<<20)
	point()
	scribble(w.TB, sources[0], 3<<20+32<<10)
	scribble(w.TB, sources[0], 20<<20)
	vm, sources = w.addDisk(vm, sources, 16<<20)
	point()
	must(w.TB, os.Truncate(sources[1], 40<<20))
	vm.Disks[1].CapacityBytes = 40 << 20
	scribble(w.TB, sources[1], 36<<20)
	scribble(w.TB, sources[2], 1<<20)
	w.putAgain(vm, sources)
	point()
	vm.Disks, sources = slices.Delete(vm.Disks, 0, 1), slices.Delete(sources, 0, 1)
	scribble(w.TB, sources[0], 37<<20)
	w.putAgain(vm, sources)
	point()
	return chain
}

// whole fails the test unless every restore point on record is what its VM was at that instant.
func (w *world) whole(chain ...instant) {
	w.Helper()
	for _, i := range chain {
		b, err := w.agent.Backup(i.ID)
		must(w.TB, err)
		if b.State != record.Completed || !b.CreatedAt.Equal(i.CreatedAt) {
			w.Errorf("backup %s is %s, of %s", i.ID, b.State, b.CreatedAt)
		}
		for n, d := range b.Runs {
			if d.ChangeID != i.Runs[n].ChangeID {
				w.Errorf("backup %s: disk %d has the change id %s, had %s", i.ID, d.DiskID, d.ChangeID, i.Runs[n].ChangeID)
			}
		}
		if b.Encrypted() {
			r := w.serve(agent.RestoreRequest{BackupID: b.ID})
			w.compareServed(r, i.disks)
			w.stopRestore(r.ID)
		} else {
			w.comparePoint(b, i.disks)
		}
	}
	must(w.TB, w.store.Check(w.Context()))
}

// TestConsolidate: an incremental becomes a full backup, whatever has happened to its VM, and is what it was; what it stood on
// can go, and what stands on it stays.
func TestConsolidate(t *testing.T) {
	w := newWorld(t)
	chain := w.life("vm")
	b, err := w.agent.Consolidate(t.Context(), chain[3].ID)
	must(t, err)
	if b.Type != record.Full || b.Parent != "" || b.Merge != nil || b.Merged == nil || !b.Merged.Synthetic || b.Merged.Points != 3 {
		t.Errorf("%+v, %+v", b, b.Merged)
	}
	w.whole(chain...)
	again, err := w.agent.Consolidate(t.Context(), chain[3].ID)
	if err != nil || !again.UpdatedAt.Equal(b.UpdatedAt) {
		t.Errorf("it is done once more: %+v, %v", again, err)
	}
	w.verified(chain[3].ID)
	for _, i := range []int{2, 1, 0} {
		must(t, w.agent.DeleteBackup(t.Context(), chain[i].ID, false))
	}
	w.whole(chain[3:]...)
	next := w.point("vm", record.Incremental)
	if next.Parent != chain[4].ID {
		t.Errorf("the next one stands on %s", next.Parent)
	}
	err = w.agent.DeleteBackup(t.Context(), chain[3].ID, false)
	if e := new(agent.Error); !errors.As(err, &e) || e.Reason != agent.HasChildren {
		t.Errorf("it may be deleted although others stand on it: %v", err)
	}
}

// verified fails the test unless every file of a chain is found, by its digest, to be what it was made.
func (w *world) verified(id string) {
	w.Helper()
	v, err := w.agent.Verify(agent.VerifyRequest{BackupID: id, Deep: true})
	must(w.TB, err)
	report, err := v.Wait(w.Context())
	must(w.TB, err)
	if report.Result != agent.VerifiedOK {
		w.Errorf("backup %s is %s: %+v", id, report.Result, report.Files)
	}
}

// TestRewriteProvesLayers: a bit that has flipped in an image is not carried into a new one, whose digest would call it good.
func TestRewriteProvesLayers(t *testing.T) {
	w := newWorld(t)
	chain := w.largeChain()
	flipLast(t, chain[0].Runs[0].Image)
	_, err := w.agent.Consolidate(t.Context(), chain[1].ID)
	if e := new(agent.Error); !errors.As(err, &e) || e.Reason != agent.ImageFailed || !strings.Contains(err.Error(), chain[0].Runs[0].Image) {
		t.Errorf("%v", err)
	}
	flipLast(t, chain[0].Runs[0].Image)
	w.asBefore(chain)
}

// flipLast flips a bit near the end of an image, where data is: the clusters of metadata lie before it.
func flipLast(t *testing.T, path string) {
	t.Helper()
	image, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer image.Close()
	at, err := image.Seek(-4096, io.SeekEnd)
	must(t, err)
	b := make([]byte, 1)
	_, err = image.ReadAt(b, at)
	must(t, err)
	b[0] ^= 1
	_, err = image.WriteAt(b, at)
	must(t, err)
}
