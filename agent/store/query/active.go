package query

import (
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Active returns every active backup, ordered by the names of the VMs.
func (r *Reader) Active() ([]record.Backup, error) {
	var active []record.Backup
	err := r.file.View(func(t *dbfile.Tx) error {
		return t.Bucket(schema.BucketActive).ForEach(func(k, id []byte) error {
			b, err := schema.Indexed(t, schema.BucketActive, k, id)
			active = append(active, b)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return active, nil
}

// Leases returns every lease, ordered by port.
func (r *Reader) Leases() ([]record.Lease, error) {
	var leases []record.Lease
	err := r.file.View(func(t *dbfile.Tx) error {
		return t.Bucket(schema.BucketLeases).ForEach(func(k, v []byte) error {
			var l record.Lease
			err := schema.Decode(t, schema.BucketLeases, k, v, &l)
			leases = append(leases, l)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return leases, nil
}

// Requested returns the backup that was made for a request id, and whether there is one.
func (r *Reader) Requested(requestID string) (b record.Backup, found bool, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		var err error
		b, found, err = schema.RequestedBackup(t, requestID)
		return err
	})
	return b, found, err
}
