package rpc

import "time"

// Progress is how far the copying of a backup has come, as the agent sees it from its own side. Received bytes are those
// on the wire: zeroes are among them, unless sna.accept_write_zeroes lets a run of them cost a few bytes.
type Progress struct {
	ReceivedBytes  uint64         `json:"received_bytes"`
	TotalBytes     int64          `json:"total_bytes"`           // sum of the disks' capacities
	BytesPerSecond float64        `json:"bytes_per_second"`      // over the last seconds
	Fraction       float64        `json:"fraction"`              // 0 to 1, estimated
	ETASeconds     int64          `json:"eta_seconds,omitempty"` // estimated; absent when not known
	Disks          []DiskProgress `json:"disks"`
	Telemetry      *Telemetry     `json:"telemetry,omitempty"` // what the copying program said last

	// ClientReport is what the copying program last reported to the SNA. The agent asks for it only while nobody is connected.
	ClientReport string `json:"client_report,omitempty"`
}

// DiskProgress is how far the copying of one disk has come.
type DiskProgress struct {
	DiskID        int    `json:"disk_id"`
	ReceivedBytes uint64 `json:"received_bytes"`
	CapacityBytes int64  `json:"capacity_bytes"`
	Complete      bool   `json:"complete"`
	Clients       int    `json:"clients"` // connections that are open now
}

// Telemetry is what the copying program reports of itself: a hint, never the truth.
type Telemetry struct {
	At               time.Time `json:"at"`
	Status           string    `json:"status,omitempty"` // "completed" comes at the end of each disk
	Phase            string    `json:"phase,omitempty"`
	BytesTransferred int64     `json:"bytes_transferred"`
	TotalBytes       int64     `json:"total_bytes"`
	BytesPerSecond   float64   `json:"bytes_per_second"`
	Percent          float64   `json:"percent"` // may pass 100
	Error            string    `json:"error,omitempty"`
}
