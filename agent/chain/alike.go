package chain

import (
	"path/filepath"
	"strings"

	"github.com/sendense/backup-agent/agent/record"
)

// Alike returns the disk of a restore point that most likely has the data of a disk that was copied since: the disk with the same change
// tracking, which may have been attached elsewhere then, or else the one with the same device key. It returns nil if there is none. It is
// no proof that both are one disk: compare the data.
func Alike(point *record.Backup, d record.DiskRun) *record.DiskRun {
	for i := range point.Runs {
		if sameTracking(point.Runs[i].ChangeID, d.ChangeID) {
			return &point.Runs[i]
		}
	}
	return OfKey(point, d.Key)
}

// sameTracking reports whether two change ids of VMware, "UUID/number", have the same UUID.
func sameTracking(one, other string) bool {
	a, _, known := strings.Cut(one, "/")
	b, _, alsoKnown := strings.Cut(other, "/")
	return known && alsoKnown && strings.EqualFold(a, b)
}

// BackingName returns the name of the image of a disk of a restore point, relative to the directory of a backup that is based on it.
func BackingName(point *record.Backup, d record.DiskRun) string {
	return filepath.Join("..", point.ID, filepath.Base(d.Image))
}
