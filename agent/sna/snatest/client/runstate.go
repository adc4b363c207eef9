package client

// RunState is one SBC.
type RunState struct {
	JobID  string `json:"job_id"`
	VM     string `json:"vm"`
	PID    int    `json:"pid"`
	Phase  string `json:"phase"`
	HeldAt string `json:"held_at,omitempty"` // the point it waits at
	Done   bool   `json:"done"`
	Killed bool   `json:"killed,omitempty"`
	// Terminated runs got a SIGTERM, which may leave the snapshot.
	Terminated bool   `json:"terminated,omitempty"`
	Error      string `json:"error,omitempty"`
	Snapshot   string `json:"snapshot,omitempty"` // its name, once taken
	// Connections are the NBD connections ever made, OpenConnections those open.
	Connections     int         `json:"connections"`
	OpenConnections int         `json:"open_connections"`
	Telemetry       int         `json:"telemetry"` // reports delivered
	Disks           []DiskState `json:"disks"`
}

// DiskState is one disk of a run.
type DiskState struct {
	Position     int    `json:"position"`
	Key          int    `json:"key"`
	Export       string `json:"export,omitempty"`
	Mode         string `json:"mode,omitempty"` // "full" or "incremental", once copied
	BytesWritten int64  `json:"bytes_written"`
	BytesZeroed  int64  `json:"bytes_zeroed"`
	// SourceBytes were read from the snapshot, samples and retries included.
	SourceBytes   int64  `json:"source_bytes"`
	ZeroesRefused int    `json:"zeroes_refused"` // write-zeroes that failed
	Retries       int    `json:"retries"`        // of pieces
	Connections   int    `json:"connections"`
	ChangeID      string `json:"change_id"`
	ReportedID    int    `json:"reported_id"`       // of the last report
	Reports       []int  `json:"reports,omitempty"` // the SHA's statuses
}
