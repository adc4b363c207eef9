package schema

import (
	"strconv"
	"time"
)

// A Hold is a scheduled prune of one VM in one repository that waits for a person, because it would remove so much at once.
type Hold struct {
	PointGroup
	Removed int       `json:"removed"` // restore points that it would remove
	Points  int       `json:"points"`  // restore points that there are
	Since   time.Time `json:"since"`   // when it was first held
}

// HoldKey is the key of the held prune of a group.
func HoldKey(g PointGroup) []byte { return []byte(strconv.Quote(g.Repository) + "/" + g.VM) }

// A PointGroup is a VM in a repository in which it has restore points.
type PointGroup struct {
	Repository string `json:"repository"`
	VM         string `json:"vm"`
}
