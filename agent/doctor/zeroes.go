package doctor

import (
	"context"

	"github.com/sendense/backup-agent/agent"
)

// writeZeroes warns if the exports of backups accept WRITE_ZEROES. The trial of each repository proves that they refuse it otherwise.
func (h *host) writeZeroes(context.Context) []Finding {
	about := one("write-zeroes", h.config.SNA.URL)
	if h.config.SNA.AcceptWriteZeroes {
		return about.warn(agent.WarnZeroes, "unless you know that the node's client reads all that it reports as zero, remove sna.accept_write_zeroes "+
			"and reload the daemon. Backups made until then may lack data, so the next backup of each VM is a full backup")
	}
	return about.ok("exports of backups refuse WRITE_ZEROES")
}
