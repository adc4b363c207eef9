package record

// Served is what an exporter serves: one disk of a backup or of a restore.
type Served struct {
	DiskID, Key   int
	CapacityBytes int64
	Image         string
	ExportName    string
	Port          uint16
	Unit          string
	InvocationID  string
}

// Served returns what the exporter of the disk serves.
func (d DiskRun) Served() Served {
	return Served{d.DiskID, d.Key, d.CapacityBytes, d.Image, d.ExportName, d.Port, d.Unit, d.InvocationID}
}

// Served returns what the exporter of the disk serves.
func (d RestoreDisk) Served() Served {
	return Served{d.DiskID, d.Key, d.CapacityBytes, d.Image, d.ExportName, d.Port, d.Unit, d.InvocationID}
}

// Served returns d.
func (d Served) Served() Served { return d }
