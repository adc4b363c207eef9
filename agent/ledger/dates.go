package ledger

import (
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// DamagedPoints returns how many restore points are known to be damaged, themselves or by what they are based on.
func (l *Ledger) DamagedPoints() (int, error) { return l.Store.DamagedPoints() }

// LogFuturePoints logs, at the start, the restore points dated in the future.
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

// maxNamed limits how many restore points dated in the future are named.
const maxNamed = 20

// FuturePoints returns up to maxNamed restore points dated in the future, and how many there are in total.
func (l *Ledger) FuturePoints() (points []record.Backup, total int, err error) {
	points, total, err = l.Store.FuturePoints(time.Now(), maxNamed)
	return points, total, fault.From(err).OrNil()
}
