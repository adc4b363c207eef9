package admission

import (
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// CheckCooldown says what the wall clock cannot: that a VM still cools down although the clock was set forward. After a clock that was
// set back, it has what the database holds end in time.
func (c *Control) CheckCooldown(vm record.VM) error {
	if r, ok := c.Ports.Cooldowns.Of(vm); ok {
		// The clock of the moment says when that is.
		return &store.CoolingError{VM: r.Vm.Name, BackupID: r.BackupID, Until: time.Now().Add(time.Until(r.Until))}
	}
	failpoint.Reach("before cooldowns are bounded")
	defer failpoint.Reach("after cooldowns were bounded")
	return c.Store.LimitCooling(time.Now(), c.Config.SNA.Cooldown.Std())
}
