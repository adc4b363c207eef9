package describe

import (
	"cmp"
	"slices"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/rpc"
)

// A Standing is how the backups of a VM stand, in words for a table.
type Standing struct {
	Word     string // ok, overdue, none yet, or not expected
	LastGood string // date of the newest good restore point; "never"
	Age      string // of that
	Now      string // state of the backup in progress
	Failed   string // reason of the backup that failed last, if it began after the last good restore point
}

// StandingOf says how the backups of a VM stand.
func StandingOf(of rpc.VMBackups, now time.Time) Standing {
	s := Standing{Word: "ok", LastGood: "never", Now: string(of.ActiveState)}
	if g := of.LastGood; g != nil {
		s.LastGood, s.Age = human.ShortTime(g.CompletedAt), human.Duration(now.Sub(g.CompletedAt))
	}
	switch {
	case of.Overdue:
		s.Word = "overdue"
	case of.LastGood == nil && of.IntervalSeconds == 0:
		s.Word = "not expected"
	case of.LastGood == nil:
		s.Word = "none yet"
	}
	if of.Failed != nil {
		s.Failed = "unknown"
		if of.Failed.Failure != nil {
			s.Failed = string(of.Failed.Failure.Reason)
		}
	}
	return s
}

// SortByUrgency puts the VMs first that need a person: overdue ones, the oldest restore point first, then those whose last backup
// failed, then the others.
func SortByUrgency(list []rpc.VMBackups) {
	rank := func(of rpc.VMBackups) int {
		switch {
		case of.Overdue:
			return 0
		case of.Failed != nil:
			return 1
		}
		return 2
	}
	at := func(of rpc.VMBackups) time.Time {
		if of.Overdue && of.LastGood != nil {
			return of.LastGood.CompletedAt
		}
		return time.Time{}
	}
	slices.SortStableFunc(list, func(a, b rpc.VMBackups) int {
		return cmp.Or(rank(a)-rank(b), at(a).Compare(at(b)), cmp.Compare(a.VMName, b.VMName))
	})
}
