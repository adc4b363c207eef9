package export

import (
	"fmt"
	"strings"
)

// UnitsOf begins the names of the units of a backup.
func UnitsOf(backupID string) string { return UnitPrefix + backupID + "-disk" }

// OwnerOf is the id of the backup in the name of a unit: sendense-nbd-<backup id>-disk<N>-<nonce>.
func OwnerOf(unit string) string {
	name := strings.TrimPrefix(unit, UnitPrefix)
	if i := strings.LastIndex(name, "-disk"); i >= 0 {
		return name[:i]
	}
	return ""
}

// IsRestore says whether a unit is named as one of a restore: sendense-nbd-<restore id>-disk<N>-<nonce>.
func IsRestore(unit string) bool { return strings.HasPrefix(unit, UnitPrefix+"restore-") }

// UnitPrefix begins the name of every unit of ours.
const UnitPrefix = "sendense-nbd-"

// UnitName is the name of the pair of units that serves one lease. The nonce makes it unlike every other, so that a
// unit of this name was started for this lease and nothing else.
func UnitName(backupID string, diskID int, nonce string) string {
	return fmt.Sprintf("%s%s-disk%d-%s", UnitPrefix, backupID, diskID, nonce)
}
