package export

import (
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd/sockets"
)

// Busiest returns the export with the most clients, of those that have no result on record. clients is 0 if none has a client.
func Busiest(b record.Backup) (most record.DiskRun, clients int, err error) {
	for _, d := range b.Runs {
		if d.Result != "" {
			continue
		}
		n, err := sockets.Established(d.Port)
		if err != nil {
			return d, 0, err
		}
		if n > clients {
			most, clients = d, n
		}
	}
	return most, clients, nil
}
