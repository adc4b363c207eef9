package snatest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
)

// snapshot is one instant of all disks of a VM.
type snapshot struct {
	Name  string
	VM    string // inventory path
	JobID string
	disks []snapshotDisk
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
	mu        sync.Mutex
	alive     []*snapshot
	sequence  map[string]int    // by disk UUID
	uuids     map[string]string // by VM path and disk key
	nameCount int
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

	taken := &snapshot{VM: vm.Path, JobID: jobID}
	taken.gone, taken.drop = context.WithCancelCause(context.Background())
	for _, disk := range vm.Disks {
		file, err := s.copySource(disk)
		if err != nil {
			taken.close()
			return nil, fmt.Errorf("snapshot of %s: disk %d: %w", vm.Path, disk.Key, err)
		}
		taken.disks = append(taken.disks, snapshotDisk{Disk: disk, file: file})
	}
	s.snapshots.add(taken, !s.options.NoChangeTracking)
	return taken, nil
}

func (all *snapshots) add(taken *snapshot, tracked bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.nameCount++
	taken.Name = fmt.Sprintf("sbak-%s-%d", taken.JobID, all.nameCount)
	for i := range taken.disks {
		taken.disks[i].changeID = all.nextChangeID(taken.VM, taken.disks[i].Disk, tracked)
	}
	all.alive = append(all.alive, taken)
}

// nextChangeID makes ids as VMware does: "52 de c0 ...-.../7", a UUID that stays
// with the disk and a number that grows. The UUID is new in every simulator, as
// after a reset of change tracking: older ids then lead to a full copy. A disk
// that is not tracked gets a new one every time, to the same end.
func (all *snapshots) nextChangeID(vmPath string, d Disk, tracked bool) string {
	if all.uuids == nil {
		all.uuids, all.sequence = make(map[string]string), make(map[string]int)
	}
	disk := fmt.Sprintf("%s %d", vmPath, d.Key)
	if d.UUID != "" {
		all.uuids[disk] = d.UUID
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

// removeOf deletes every snapshot of a VM and returns their names: the first
// thing that an SBC does.
func (all *snapshots) removeOf(vmPath string) []string {
	var names []string
	all.removeIf(func(taken *snapshot) bool {
		if taken.VM != vmPath {
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
