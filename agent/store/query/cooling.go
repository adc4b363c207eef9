package query

import (
	"time"

	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// A CoolingPort is a port that is not leased yet, because a client of an earlier backup may still use it.
type CoolingPort struct {
	Port     uint16
	Until    time.Time
	BackupID string // the backup of that client
}

// A CoolingVM is a VM that is not backed up yet, because a client of an earlier backup may still be running.
type CoolingVM struct {
	Name     string
	Until    time.Time
	BackupID string
}

// Cooling returns the ports and VMs that cool down at the time now, ordered by port and by name.
func (r *Reader) Cooling(now time.Time) (ports []CoolingPort, vms []CoolingVM, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		ports, vms = nil, nil
		err := schema.EachCooling(t, schema.BucketCoolingPorts, func(key []byte, c schema.Stamp) error {
			if c.Until.After(now) {
				ports = append(ports, CoolingPort{Port: schema.DecodePort(key), Until: c.Until, BackupID: c.BackupID})
			}
			return nil
		})
		if err != nil {
			return err
		}
		return schema.EachCooling(t, schema.BucketCoolingVMs, func(key []byte, c schema.Stamp) error {
			if c.Until.After(now) {
				vms = append(vms, CoolingVM{Name: string(key), Until: c.Until, BackupID: c.BackupID})
			}
			return nil
		})
	})
	if err != nil {
		return nil, nil, err
	}
	return ports, vms, nil
}
