package ledger

import (
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// DamagedPoints is how many restore points are known to be damaged, be it by what they stand on.
func (l *Ledger) DamagedPoints() (int, error) { return l.Store.DamagedPoints() }

// LogFuturePoints says at the start which restore points are dated in the future.
func (l *Ledger) LogFuturePoints() {
	points, total, err := l.FuturePoints()
	if err != nil {
		l.Log.Error("cannot read the dates of the restore points", logkey.Error, err)
		return
	}
	for _, b := range points {
		l.Log.Warn("a restore point is dated in the future by a wrong clock: it counts for no retention rule and no age",
			logkey.BackupID, b.ID, logkey.VM, b.VM.Name, logkey.Repository, b.Repository, "created_at", b.CreatedAt)
	}
	if more := total - len(points); more > 0 {
		l.Log.Warn("more restore points are dated in the future", "points", more)
	}
}

// maxNamed is how many restore points of the future are named where they are not listed.
const maxNamed = 20

// FuturePoints are restore points that a clock dated in the future, not more than are worth naming, and how many there are.
func (l *Ledger) FuturePoints() (points []record.Backup, total int, err error) {
	points, total, err = l.Store.FuturePoints(time.Now(), maxNamed)
	return points, total, fault.From(err).OrNil()
}
