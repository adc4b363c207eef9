package record

import "time"

// An Import is the result of putting the restore points of a repository on record that the catalog had nothing of.
type Import struct {
	Repository string
	At         time.Time // when it ended
	Points     int       // restore points that are on record now and were not
	VMs        int       // VMs that are on record now and were not
	Problems   int       // what was not imported, or is wrong
	Named      []Problem // the first of them
}

// A Problem is something wrong in a repository.
type Problem struct {
	Path   string // absolute
	Reason string
}
