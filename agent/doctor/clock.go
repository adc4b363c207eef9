package doctor

import (
	"context"
	"fmt"
	"strings"
)

// dates finds restore points that a wrong clock has dated in the future. The daemon knows them.
func (h *host) dates(ctx context.Context) []Finding {
	about := one("dates", "")
	d, err := h.askDaemon(ctx)
	switch {
	case err != nil:
		return about.skip("the daemon did not answer", "see the check of the daemon")
	case d.FuturePoints == 0:
		return about.ok("no restore point is dated in the future")
	}
	names := strings.Join(d.FutureIDs, ", ")
	if more := d.FuturePoints - len(d.FutureIDs); more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return with(about.warn(
		fmt.Sprintf("restore points that are dated in the future: %d: %s", d.FuturePoints, names),
		"check that the clock is right now (timedatectl). These restore points are kept, and count for no retention rule and no age. "+
			"Delete them when you no longer need them: sendensectl backup delete"), "points", fmt.Sprint(d.FuturePoints))
}

// heldPrunes finds daily prunes that wait for a person.
func (h *host) heldPrunes(ctx context.Context) []Finding {
	about := one("prune", "")
	d, err := h.askDaemon(ctx)
	switch {
	case err != nil:
		return about.skip("the daemon did not answer", "see the check of the daemon")
	case len(d.HeldPrunes) == 0:
		return about.ok("no daily prune is held")
	}
	var found []Finding
	for _, p := range d.HeldPrunes {
		found = append(found, one("prune", p.VM).warn(
			fmt.Sprintf("the daily prune is held: it would remove %d of %d restore points in repository %s at once", p.Removed, p.Points, p.Repository),
			fmt.Sprintf("look at 'sendensectl backup prune %[1]q --dry-run'. After a change of the policy this is expected: then run "+
				"'sendensectl backup prune %[1]q --repository %[2]s --yes'. If the clock is wrong, correct the clock first", p.VM, p.Repository))...)
	}
	return found
}
