package agent

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// lookAtDates says at the start which restore points are dated in the future.
func (a *Agent) lookAtDates() {
	points, total, err := a.FuturePoints()
	if err != nil {
		a.log.Error("the dates of the restore points cannot be looked at", logError, err)
		return
	}
	for _, b := range points {
		a.log.Warn("a restore point is dated in the future, because a clock was wrong, or is: it counts for no retention rule and no age",
			logBackupID, b.ID, logVM, b.VM.Name, logRepository, b.Repository, "created_at", b.CreatedAt)
	}
	if more := total - len(points); more > 0 {
		a.log.Warn("more restore points are dated in the future", "points", more)
	}
}

// maxNamed is how many restore points of the future are named where they are not listed.
const maxNamed = 20

// FuturePoints are restore points that a clock dated in the future, not more than are worth naming, and how many there are.
func (a *Agent) FuturePoints() (points []record.Backup, total int, err error) {
	points, total, err = a.store.FuturePoints(time.Now(), maxNamed)
	return points, total, AsError(err).orNil()
}
