package chain

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// KnownDamage reports whether a file is in a list of damaged files.
func KnownDamage(list []record.FileDamage, file string) bool {
	for _, d := range list {
		if d.File == file {
			return true
		}
	}
	return false
}

// knownDamaged returns a *Damage if a restore point is on record as damaged.
func knownDamaged(p record.Backup) error {
	damage := p.Damage()
	if len(damage) == 0 {
		return nil
	}
	return Damagef("restore point %s was found damaged at %s: %s: %s", p.ID, p.Verified.At.Format(time.RFC3339), damage[0].File, damage[0].Problem)
}
