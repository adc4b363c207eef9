package vcenter

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
)

// A Snapshot is one instant of all disks of a VM.
type Snapshot struct {
	Name  string
	VM    string // inventory path
	JobID string
	Disks []SnapshotDisk
	// fileBytes is the size of the VMDK files of all disks, which SBC counts.
	FileBytes int64
	// gone ends with errSnapshotGone when the snapshot is removed.
	Gone context.Context
	drop context.CancelCauseFunc
}

// A SnapshotDisk is one disk of a snapshot.
type SnapshotDisk struct {
	Disk
	File     *os.File
	ChangeID string
}

// ErrSnapshotGone ends every reader of a snapshot that is removed.
var ErrSnapshotGone = errors.New("the snapshot was removed while it was read")

// snapshots are those of the whole vCenter.
type snapshots struct {
	mu       sync.Mutex
	alive    []*Snapshot
	sequence map[string]int    // by disk UUID
	uuids    map[string]string // by VM and disk key
}

// count adds the size of a disk on its datastore: of a thin disk, what was written.
func (taken *Snapshot) count(disk Disk, file *os.File) error {
	if disk.FileBytes > 0 {
		taken.FileBytes += disk.FileBytes
		return nil
	}
	data, err := dataExtents(file, disk.CapacityBytes)
	for _, part := range data {
		taken.FileBytes += part.Length
	}
	return err
}

func (all *snapshots) add(taken *Snapshot, vm VM, tracked bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for i := range taken.Disks {
		taken.Disks[i].ChangeID = all.nextChangeID(vm, taken.Disks[i].Disk, tracked)
	}
	all.alive = append(all.alive, taken)
}

// nextChangeID makes ids as VMware does: "52 de c0 ...-.../7", a UUID of the disk and
// a growing number. The UUID is new in every simulator, as after a reset of change
// tracking: older ids then lead to a full copy. So does the UUID of another disk,
// also at the same key. A disk without tracking gets a new UUID every time, for the
// same result.
func (all *snapshots) nextChangeID(vm VM, one Disk, tracked bool) string {
	if all.uuids == nil {
		all.uuids, all.sequence = make(map[string]string), make(map[string]int)
	}
	disk := fmt.Sprintf("%s %s %d", vm.Path, vm.ID, one.Key)
	if one.UUID != "" {
		all.uuids[disk] = one.UUID
	}
	if all.uuids[disk] == "" || !tracked {
		var id [16]byte
		_, _ = rand.Read(id[:]) // never fails
		id[0] = 0x52
		all.uuids[disk] = fmt.Sprintf("% x-% x", id[:8], id[8:])
	}
	uuid := all.uuids[disk]
	all.sequence[uuid]++
	return fmt.Sprintf("%s/%d", uuid, all.sequence[uuid])
}

// removeOf removes every snapshot of a VM with a prefix, and returns their names. It is
// the first thing that an SBC does.
func (all *snapshots) removeOf(vmPath, prefix string) []string {
	var names []string
	all.removeIf(func(taken *Snapshot) bool {
		if taken.VM != vmPath || !strings.HasPrefix(taken.Name, prefix) {
			return false
		}
		names = append(names, taken.Name)
		return true
	})
	return names
}

func (all *snapshots) remove(one *Snapshot) {
	all.removeIf(func(taken *Snapshot) bool { return taken == one })
}

func (all *snapshots) removeAll() {
	all.removeIf(func(*Snapshot) bool { return true })
}

func (all *snapshots) removeIf(doomed func(*Snapshot) bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.alive = slices.DeleteFunc(all.alive, func(taken *Snapshot) bool {
		if !doomed(taken) {
			return false
		}
		taken.close()
		return true
	})
}

// close ends every reader of the snapshot and frees its files.
func (taken *Snapshot) close() {
	taken.drop(ErrSnapshotGone)
	for _, disk := range taken.Disks {
		_ = disk.File.Close() // only read from, or no longer used
	}
}

func (all *snapshots) states() []SnapshotState {
	all.mu.Lock()
	defer all.mu.Unlock()
	states := []SnapshotState{}
	for _, taken := range all.alive {
		states = append(states, SnapshotState{Name: taken.Name, VM: taken.VM, JobID: taken.JobID})
	}
	return states
}

// SnapshotState is one snapshot.
type SnapshotState struct {
	Name  string `json:"name"`
	VM    string `json:"vm"`
	JobID string `json:"job_id"`
}
