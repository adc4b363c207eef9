package doctor

import (
	"context"

	"github.com/sendense/backup-agent/agent"
)

// writeZeroes warns where a backup's exports accept WRITE_ZEROES. That they refuse it otherwise, the trial of each repository proves.
func (h *host) writeZeroes(context.Context) []Finding {
	about := one("write-zeroes", h.config.SNA.URL)
	if h.config.SNA.AcceptWriteZeroes {
		return about.warn(agent.WarnZeroes, "unless the node's client is known to read all that it calls zero, remove sna.accept_write_zeroes, "+
			"and reload the daemon: the next backup of each VM is a full one then, as what was made meanwhile may lack data")
	}
	return about.ok("exports of backups refuse it")
}
