package snatest

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

// snapshot is one instant of all disks of a VM.
type snapshot struct {
	Name  string
	VM    string // inventory path
	JobID string
	disks []snapshotDisk
	// fileBytes are the VMDK files of all its disks, by which SBC counts.
	fileBytes int64
	// gone ends with errSnapshotGone when the snapshot is removed.
	gone context.Context
	drop context.CancelCauseFunc
}

type snapshotDisk struct {
	Disk
	file     *os.File
	changeID string
}

var errSnapshotGone = errors.New("the snapshot was removed while it was read")

// snapshots are those of the whole vCenter.
type snapshots struct {
	mu       sync.Mutex
	alive    []*snapshot
	sequence map[string]int    // by disk UUID
	uuids    map[string]string // by VM and disk key
}

// create takes a snapshot. Nobody who honours Quiesce or a flock on the sources
// writes between the first byte copied and the last.
func (s *Server) createSnapshot(ctx context.Context, vm VM, jobID string) (*snapshot, error) {
	thaw := s.options.Quiesce(vm.Path)
	defer thaw()
	unlock, err := lockSources(ctx, vm.Disks)
	if err != nil {
		return nil, err
	}
	defer unlock()

	taken := &snapshot{Name: snapshotPrefix(jobID) + jobID, VM: vm.Path, JobID: jobID}
	taken.gone, taken.drop = context.WithCancelCause(context.Background())
	for _, disk := range vm.Disks {
		file, err := s.copySource(disk)
		if err != nil {
			taken.close()
			return nil, fmt.Errorf("snapshot of %s: disk %d: %w", vm.Path, disk.Key, err)
		}
		taken.disks = append(taken.disks, snapshotDisk{Disk: disk, file: file})
		if err := taken.count(disk, file); err != nil {
			taken.close()
			return nil, err
		}
	}
	s.snapshots.add(taken, vm, !s.options.NoChangeTracking)
	return taken, nil
}

// snapshotPrefix begins the names of the snapshots of a job's kind. SBC removes
// those of its own kind, and no others, before it takes one.
func snapshotPrefix(jobID string) string {
	if strings.HasPrefix(jobID, "backup-") {
		return "sbak-"
	}
	return "srep-"
}

// count adds what a disk takes on its datastore: of a thin disk, what was written.
func (taken *snapshot) count(disk Disk, file *os.File) error {
	if disk.FileBytes > 0 {
		taken.fileBytes += disk.FileBytes
		return nil
	}
	data, err := dataExtents(file, disk.CapacityBytes)
	for _, part := range data {
		taken.fileBytes += part.length
	}
	return err
}

func (all *snapshots) add(taken *snapshot, vm VM, tracked bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for i := range taken.disks {
		taken.disks[i].changeID = all.nextChangeID(vm, taken.disks[i].Disk, tracked)
	}
	all.alive = append(all.alive, taken)
}

// nextChangeID makes ids as VMware does: "52 de c0 ...-.../7", a UUID that stays
// with the disk and a number that grows. The UUID is new in every simulator, as
// after a reset of change tracking: older ids then lead to a full copy. So does
// that of another disk, at the same key or not. A disk that is not tracked gets a
// new one every time, to the same end.
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

// removeOf deletes every snapshot of a VM with a prefix, and returns their names:
// the first thing that an SBC does.
func (all *snapshots) removeOf(vmPath, prefix string) []string {
	var names []string
	all.removeIf(func(taken *snapshot) bool {
		if taken.VM != vmPath || !strings.HasPrefix(taken.Name, prefix) {
			return false
		}
		names = append(names, taken.Name)
		return true
	})
	return names
}

func (all *snapshots) remove(one *snapshot) {
	all.removeIf(func(taken *snapshot) bool { return taken == one })
}

func (all *snapshots) removeAll() {
	all.removeIf(func(*snapshot) bool { return true })
}

func (all *snapshots) removeIf(doomed func(*snapshot) bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.alive = slices.DeleteFunc(all.alive, func(taken *snapshot) bool {
		if !doomed(taken) {
			return false
		}
		taken.close()
		return true
	})
}

// close ends every reader of the snapshot and frees its files.
func (taken *snapshot) close() {
	taken.drop(errSnapshotGone)
	for _, disk := range taken.disks {
		_ = disk.file.Close() // only read from, or of no use any more
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
