package run

import (
	"time"

	"github.com/sendense/backup-agent/agent/fault"
)

// A verdict is what a run does after a backup failed.
type verdict int

const (
	giveUp    verdict = iota // a further try cannot succeed before a person has done something
	tryAgain                 // what was wrong can go away by itself
	tryAsFree                // nothing was wrong with the VM: the try does not count
)

// verdicts says for each reason whether a further try of a scheduled backup can succeed. A reason that is not listed is not tried again.
var verdicts = map[fault.Reason]verdict{
	fault.ClientGone:        tryAgain,
	fault.ClientSilent:      tryAgain,
	fault.DeadlinePassed:    tryAgain,
	fault.ExporterFailed:    tryAgain,
	fault.HookFailed:        tryAgain,
	fault.HostFailed:        tryAgain,
	fault.ImageFailed:       tryAgain,
	fault.Internal:          tryAgain,
	fault.RepositoryFailed:  tryAgain, // a mount may come back
	fault.SNAOutcomeUnknown: tryAgain, // only once the backup has ended: a run never asks the SNA twice at the same time
	fault.SNARefused:        tryAgain, // a vCenter that is busy refuses, too
	fault.SNAUnreachable:    tryAgain,
	fault.StateUnwritable:   tryAgain,
	fault.SystemdFailed:     tryAgain,
	fault.NoSpace:           tryAgain, // a prune or the end of another backup frees space

	fault.BackupInProgress: tryAsFree, // somebody else backs the VM up
	fault.Busy:             tryAsFree,
	fault.CoolingDown:      tryAsFree,
	fault.NoFreePort:       tryAsFree,
	fault.QueueFull:        tryAsFree,
	fault.RepositoryPaused: tryAsFree,
	fault.RepositoryStuck:  tryAsFree,
	fault.ShuttingDown:     tryAsFree,

	fault.DiskIDGiven:        giveUp,
	fault.DiskUnknown:        giveUp, // the disks must be looked up
	fault.InvalidRequest:     giveUp,
	fault.KeyUnavailable:     giveUp,
	fault.NoParent:           giveUp,
	fault.NotAllowed:         giveUp,
	fault.NotConfigured:      giveUp,
	fault.PasswordMissing:    giveUp,
	fault.ProgramMissing:     giveUp,
	fault.RepositoryNotFound: giveUp,
	fault.VMHasNoDisks:       giveUp,
	fault.VMNotFound:         giveUp,
}

const (
	longestWait     = time.Hour   // between two tries of a VM
	firstFreeWait   = time.Minute // after a try that does not count
	longestFreeWait = 15 * time.Minute
	maxTries        = 50 // of a VM in a run, those that do not count included: half a day
)

// freeBackOff is how long a run waits after a number of tries that do not count: a minute at first, or as long as after one that counts if
// that is less, and twice as long after each further one.
func freeBackOff(first time.Duration, tries int) time.Duration {
	wait := min(firstFreeWait, first)
	for range tries - 1 {
		if wait *= 2; wait >= longestFreeWait {
			return longestFreeWait
		}
	}
	return wait
}

// backOff is how long a run waits before the next try: first after the first failure, and twice as long after each further one.
func backOff(first time.Duration, failures int) time.Duration {
	wait := first
	for range failures - 1 {
		if wait *= 2; wait >= longestWait {
			return longestWait
		}
	}
	return min(wait, longestWait)
}
