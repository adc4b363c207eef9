package rpc

import "time"

// Progress is the progress of a backup's copy, as the agent measures it. Received bytes are counted on the network: zeroes are
// among them, unless sna.accept_write_zeroes makes a run of zeroes a few bytes.
type Progress struct {
	ReceivedBytes  uint64         `json:"received_bytes"`
	TotalBytes     int64          `json:"total_bytes"`           // sum of the disks' capacities
	BytesPerSecond float64        `json:"bytes_per_second"`      // over the last seconds
	CopiedBytes    int64          `json:"copied_bytes"`          // of the disks, as far as known: zeroes that are not sent are among them
	Fraction       float64        `json:"fraction"`              // 0 to 1, estimated
	ETASeconds     int64          `json:"eta_seconds,omitempty"` // estimated; absent if unknown
	Disks          []DiskProgress `json:"disks"`

	// FractionUnknown: nothing tells how much will be copied, for example in the first incremental. Then fraction is 0.
	FractionUnknown bool `json:"fraction_unknown,omitempty"`

	Telemetry *Telemetry `json:"telemetry,omitempty"` // the client's last report of its progress

	// ClientReport is the client's last report to the SNA. The agent asks for it only while no client is connected.
	ClientReport string `json:"client_report,omitempty"`
}

// DiskProgress is the progress of one disk's copy.
type DiskProgress struct {
	DiskID        int    `json:"disk_id"`
	ReceivedBytes uint64 `json:"received_bytes"`
	CapacityBytes int64  `json:"capacity_bytes"`
	Complete      bool   `json:"complete"`
	Clients       int    `json:"clients"` // open connections

	CopiedBytes   int64 `json:"copied_bytes"`             // of the disk, as far as known
	ExpectedBytes int64 `json:"expected_bytes,omitempty"` // estimate of copied_bytes at the end; absent if unknown
}

// Telemetry is what the client reports of itself. It is a hint only and may be wrong.
type Telemetry struct {
	At               time.Time `json:"at"`
	Status           string    `json:"status,omitempty"` // "completed" comes at the end of each disk
	Phase            string    `json:"phase,omitempty"`
	BytesTransferred int64     `json:"bytes_transferred"`
	TotalBytes       int64     `json:"total_bytes"`
	BytesPerSecond   float64   `json:"bytes_per_second"`
	Percent          float64   `json:"percent"` // may exceed 100
	Error            string    `json:"error,omitempty"`
}
