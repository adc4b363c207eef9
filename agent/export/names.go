package export

import (
	"fmt"
	"strings"
)

// UnitsOf returns the prefix of the names of the units of a backup or restore.
func UnitsOf(backupID string) string { return UnitPrefix + backupID + "-disk" }

// OwnerOf returns the id of the backup or restore in the name of a unit: sendense-nbd-<id>-disk<N>-<nonce>; "" if there is none.
func OwnerOf(unit string) string {
	name := strings.TrimPrefix(unit, UnitPrefix)
	if i := strings.LastIndex(name, "-disk"); i >= 0 {
		return name[:i]
	}
	return ""
}

// IsRestore reports whether a unit has the name of one of a restore: sendense-nbd-<restore id>-disk<N>-<nonce>.
func IsRestore(unit string) bool { return strings.HasPrefix(unit, UnitPrefix+"restore-") }

// UnitPrefix begins the name of every unit of the agent.
const UnitPrefix = "sendense-nbd-"

// UnitName returns the name of the pair of units that serves one lease. The nonce makes it unique: a unit of this name was started for
// this lease and for nothing else.
func UnitName(backupID string, diskID int, nonce string) string {
	return fmt.Sprintf("%s%s-disk%d-%s", UnitPrefix, backupID, diskID, nonce)
}
