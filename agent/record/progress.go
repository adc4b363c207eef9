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
	CopiedBytes    int64          // of the disks, as far as known: zeroes that the wire does not carry are among them
	Fraction       float64        // 0 to 1, estimated
	ETA            time.Duration  // estimated from Fraction; 0 = not known
	Disks          []DiskProgress // in the order of the record's disks
	Telemetry      *Telemetry     // what SBC said last; nil if nothing
	ClientReport   string         // what SBC last reported to the SNA, as far as it was asked for

	FractionUnknown bool // nothing tells how much will be copied, and so Fraction is 0
}

// DiskProgress is how far the copying of one disk has come.
type DiskProgress struct {
	DiskID        int
	ReceivedBytes uint64
	CapacityBytes int64
	Complete      bool
	Clients       int   // connections that are open now
	CopiedBytes   int64 // of the disk, as far as known
	ExpectedBytes int64 // estimated: CopiedBytes at the end; 0 = not known
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
