package crashtest_test

import (
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/rpc"
)

// facts are what the world knows at a moment, and what therefore must be on the disk.
type facts struct {
	ready    bool                       // a daemon has answered
	started  map[string]bool            // backups whose start was answered
	asked    map[string]bool            // backups that the SNA was asked for
	reported map[string]map[int]string  // change ids of the disks whose reports were answered
	ended    map[string]rpc.BackupState // backups that were told to have ended, and how
	doomed   map[string]bool            // backups whose deletion was asked for
	deleted  map[string]bool            // backups whose deletion was answered
}

func newFacts() *facts {
	return &facts{
		started: map[string]bool{}, asked: map[string]bool{}, reported: map[string]map[int]string{},
		ended: map[string]rpc.BackupState{}, doomed: map[string]bool{}, deleted: map[string]bool{},
	}
}

func (f *facts) learn(e notice) {
	switch e.kind {
	case isReady:
		f.ready = true
	case isStarted:
		f.started[e.id] = true
	case isAsked:
		f.asked[e.id] = true
	case isReported:
		if f.reported[e.id] == nil {
			f.reported[e.id] = map[int]string{}
		}
		f.reported[e.id][e.disk] = e.changeID
	case isTold:
		if e.state == rpc.Completed || e.state == rpc.Failed || e.state == rpc.Cancelled {
			f.ended[e.id] = e.state
		}
	case isToBeDeleted:
		f.doomed[e.id] = true
	case isDeleted:
		f.deleted[e.id] = true
	case isBegun:
	}
}

// check compares what the world knows with what is on record. Before a daemon has started, a backup that was told to have ended
// may be on its way there: bbolt shows a reader what it has written a moment before that is safe.
func (f *facts) check(records map[string]record.Backup, started bool) error {
	return errors.Join(f.checkStarts(records), f.checkReports(records), f.checkEnds(records, started))
}

func (f *facts) checkStarts(records map[string]record.Backup) error {
	var problems []error
	for id := range f.started {
		if _, there := records[id]; !there && !f.doomed[id] {
			problems = append(problems, fmt.Errorf("the start of %s was answered, and it is not on record", id))
		}
	}
	for id := range f.asked {
		b, there := records[id]
		switch {
		case f.doomed[id]:
		case !there:
			problems = append(problems, fmt.Errorf("the SNA was asked for %s, and it is not on record", id))
		case b.CalledAt.IsZero():
			problems = append(problems, fmt.Errorf("the SNA was asked for %s, which is %s: it would be asked again", id, b.State))
		}
	}
	return errors.Join(problems...)
}

func (f *facts) checkReports(records map[string]record.Backup) error {
	var problems []error
	for id, disks := range f.reported {
		b := records[id]
		for disk, changeID := range disks {
			if run := b.Run(disk); !f.doomed[id] && (run == nil || !run.Complete || run.ChangeID != changeID) {
				problems = append(problems, fmt.Errorf("the report of disk %d of %s was answered, and is not on record", disk, id))
			}
		}
	}
	return errors.Join(problems...)
}

func (f *facts) checkEnds(records map[string]record.Backup, started bool) error {
	var problems []error
	for id, state := range f.ended {
		if b := records[id]; string(b.State) != string(state) && !f.doomed[id] && (started || !onItsWay(b, state)) {
			problems = append(problems, fmt.Errorf("backup %s was told to be %s, and is %q", id, state, b.State))
		}
	}
	for id := range f.deleted {
		if b, there := records[id]; there {
			problems = append(problems, fmt.Errorf("the deletion of %s was answered, and it is %s", id, b.State))
		}
	}
	return errors.Join(problems...)
}

// onItsWay says whether a backup can have no other end, and gets to it when a daemon starts.
func onItsWay(b record.Backup, end rpc.BackupState) bool {
	switch end {
	case rpc.Completed:
		return b.State == record.Finishing && !b.PublishingAt.IsZero() // that its manifest stands is checked as well
	case rpc.Failed:
		return b.State == record.Undoing && b.Failure != nil
	default:
		return b.State == record.Undoing && b.Failure == nil
	}
}

// checkRebuilt is check for records that were made again from the manifests. What is lost in that is in decision 8.
func (f *facts) checkRebuilt(records map[string]record.Backup) error {
	var problems []error
	for id, state := range f.ended {
		if state == rpc.Completed && !f.doomed[id] && records[id].State != record.Completed {
			problems = append(problems, fmt.Errorf("backup %s was told to be completed, and is %q", id, records[id].State))
		}
	}
	return errors.Join(problems...)
}
