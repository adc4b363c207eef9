package record

import (
	"time"
)

// A HeldPrune is what a scheduled run leaves to a person, because it would remove too many restore points of a VM in a repository
// at once.
type HeldPrune struct {
	VMName, Repository string
	Removed            int       // restore points that it would remove
	Points             int       // restore points that there are
	Since              time.Time // when it was first held
}
