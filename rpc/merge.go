package rpc

import "time"

// Merge is the merge of a restore point that is in progress. On the wire it is called rewrite.
type Merge struct {
	Onto     string  `json:"onto,omitempty"`      // the restore point it will be based on; "" is none: it becomes a synthetic full
	Phase    string  `json:"phase"`               // waiting, merging, comparing or swapping (the commit)
	Fraction float64 `json:"fraction"`            // 0 to 1, estimated
	WaitsFor string  `json:"waits_for,omitempty"` // while the phase is waiting: what reads the restore point, or what is done first
}

// Merged is the last merge of a restore point. The content of the restore point is unchanged. On the wire it is called rewritten.
type Merged struct {
	At        time.Time `json:"at"`
	Synthetic bool      `json:"synthetic,omitempty"` // it is a synthetic full: a full backup made of an incremental and its chain
	Points    int       `json:"merged"`              // restore points that were merged into it, of all times
}
