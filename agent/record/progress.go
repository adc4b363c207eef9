package record

import (
	"time"
)

// Progress is how far the copying of a backup has come, as seen from our own side. A disk's received bytes are those on
// the wire: zeroes are among them, unless sna.accept_write_zeroes lets a run of them cost a few bytes.
type Progress struct {
	ReceivedBytes  uint64
	TotalBytes     int64          // sum of the capacities
	BytesPerSecond float64        // over the last seconds
	Fraction       float64        // 0 to 1, estimated: what is complete, and of the rest what was received or reported
	ETA            time.Duration  // estimated from Fraction; 0 = not known
	Disks          []DiskProgress // in the order of the record's disks
	Telemetry      *Telemetry     // what SBC said last; nil if nothing
	ClientReport   string         // what SBC last reported to the SNA, as far as it was asked for
}

// DiskProgress is how far the copying of one disk has come.
type DiskProgress struct {
	DiskID        int
	ReceivedBytes uint64
	CapacityBytes int64
	Complete      bool
	Clients       int // connections that are open now
}

// Telemetry is what SBC reports of itself: a hint, never the truth. It says "completed" at the end of each disk.
type Telemetry struct {
	At               time.Time
	Status, Phase    string
	BytesTransferred int64
	TotalBytes       int64
	BytesPerSecond   float64
	Percent          float64 // may pass 100
	Error            string
}
