// Package record holds the values of the domain: VM, Disk, Backup, Lease, and the states of a backup. It does no I/O.
//
// # States
//
//	[queued ->] preparing -> exporting -> calling -> running -> finishing -> completed
//	    |           |            |         |   ^        |           |
//	    |           |            |         v   | seen   |           |
//	    |           |            |      unresolved      |           |
//	    +-----------+------------+---------+------------+-----------+--> undoing -> failed | cancelled
//
//	queued      the record is on disk; it has no lease and waits in the queue
//	preparing   record and leases are on disk, nothing else is
//	exporting   images are made and units started; it ends when every export has answered a handshake
//	calling     written before the request is sent to the SNA: from here on it may have arrived
//	unresolved  the request may or may not have arrived; it is never sent again
//	running     the SNA accepted, or SBC was seen
//	finishing   every disk was reported complete; exporters stop, images are checked
//	undoing     units are stopped, images removed, leases returned; it ends as failed or cancelled, whichever was first
//
// A backup that has ended as completed, failed or cancelled may be deleted:
//
//	deleting    it is no longer a restore point; manifest, images and directory are removed, then the record
package record

import "fmt"

// State is the state of a backup.
type State string

// The states, in the order of the diagram.
const (
	Queued     State = "queued"
	Preparing  State = "preparing"
	Exporting  State = "exporting"
	Calling    State = "calling"
	Unresolved State = "unresolved"
	Running    State = "running"
	Finishing  State = "finishing"
	Completed  State = "completed"
	Undoing    State = "undoing"
	Failed     State = "failed"
	Cancelled  State = "cancelled"
	Deleting   State = "deleting"
)

// States lists every state in the order of the diagram.
var States = []State{Queued, Preparing, Exporting, Calling, Unresolved, Running, Finishing, Completed, Undoing, Failed, Cancelled, Deleting}

// next is the transition table: the states that may follow each state.
var next = map[State][]State{
	Queued:     {Preparing, Undoing},
	Preparing:  {Exporting, Undoing},
	Exporting:  {Calling, Undoing},
	Calling:    {Running, Unresolved, Undoing},
	Unresolved: {Running, Undoing},
	Running:    {Finishing, Undoing},
	Finishing:  {Completed, Undoing},
	Undoing:    {Failed, Cancelled},
	Completed:  {Deleting},
	Failed:     {Deleting},
	Cancelled:  {Deleting},
	Deleting:   {},
}

// Terminal says whether a backup in this state has ended: it has no lease and no unit, and can only be deleted.
func (s State) Terminal() bool {
	return s == Completed || s == Failed || s == Cancelled || s == Deleting
}

// Active is the opposite of Terminal: a VM has at most one active backup.
func (s State) Active() bool { return !s.Terminal() }

// CheckTransition returns an *IllegalTransitionError when the transition table does not allow a backup to go from one state to
// the other.
func CheckTransition(from, to State) error {
	for _, s := range next[from] {
		if s == to {
			return nil
		}
	}
	return &IllegalTransitionError{What: "backup", From: from, To: to}
}

// IllegalTransitionError is a transition that is not in the table.
type IllegalTransitionError struct {
	What     string // backup or restore
	From, To State
}

func (e *IllegalTransitionError) Error() string {
	return fmt.Sprintf("a %s that is %s cannot become %s", e.What, e.From, e.To)
}
