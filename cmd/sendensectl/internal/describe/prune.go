package describe

import (
	"fmt"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// HeldPrune is one line about a daily run that is held.
func HeldPrune(h rpc.HeldPrune) string {
	return fmt.Sprintf("the daily prune of VM %s in repository %s is held: it would remove %d of %d restore points at once; look at: %s",
		h.VMName, h.RepositoryID, h.RemovedCount, h.PointCount, hint.PruneCommand(h.VMName, "--dry-run"))
}

// PrintHeldPrune explains what the daily run does not do by itself, and how to have it done.
func PrintHeldPrune(p *output.Printer, h rpc.HeldPrune) {
	p.Prose("The daily run leaves VM %s in repository %s to you: it would remove %d of %d restore points at once. That is right after the "+
		"policy was changed or applied for the first time, and wrong if a clock is.", h.VMName, h.RepositoryID, h.RemovedCount, h.PointCount)
	p.Line("See why: %s", hint.PruneCommand(h.VMName, "--dry-run"))
	p.Line("If it is right: %s", hint.PruneCommand(h.VMName, "--repository "+h.RepositoryID+" --yes"))
}
