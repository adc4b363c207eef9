package describe

import (
	"fmt"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// HeldPrune describes a daily prune that is held, in one line.
func HeldPrune(h rpc.HeldPrune) string {
	return fmt.Sprintf("the daily prune of VM %s in repository %s is held: it would remove %d of %d restore points at once. See why: %s",
		h.VMName, h.RepositoryID, h.RemovedCount, h.PointCount, hint.PruneCommand(h.VMName, "--dry-run"))
}

// PrintHeldPrune explains a daily prune that is held, and how to run it.
func PrintHeldPrune(p *output.Printer, h rpc.HeldPrune) {
	p.Prose("The daily prune of VM %s in repository %s is held: it would remove %d of %d restore points at once. That is expected after a "+
		"change of the policy and on its first run, but not if a clock is wrong.", h.VMName, h.RepositoryID, h.RemovedCount, h.PointCount)
	p.Line("See why: %s", hint.PruneCommand(h.VMName, "--dry-run"))
	p.Line("To prune: %s", hint.PruneCommand(h.VMName, "--repository "+h.RepositoryID+" --yes"))
}
