package admission

import (
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// CheckCooldown returns a *store.CoolingError if a VM still cools down by the monotonic clock, although the wall clock was set forward.
// If the wall clock was set back, CheckCooldown limits the cool-downs in the database to sna.cooldown from now.
func (c *Control) CheckCooldown(vm record.VM) error {
	if r, ok := c.Ports.Cooldowns.Of(vm); ok {
		// The end by the present wall clock.
		return &store.CoolingError{VM: r.Vm.Name, BackupID: r.BackupID, Until: time.Now().Add(time.Until(r.Until))}
	}
	failpoint.Reach("before cooldowns are bounded")
	defer failpoint.Reach("after cooldowns were bounded")
	return c.Store.LimitCooling(time.Now(), c.Config.SNA.Cooldown.Std())
}
