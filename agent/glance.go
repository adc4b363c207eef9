package agent

import (
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/group"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/query"
)

// VMBackups is what the records say about the backups of a VM.
type VMBackups struct {
	VMName   string
	Good     *record.Backup // the newest good restore point in a configured repository; nil if there is none
	GoodAt   time.Time      // when it was completed
	Failed   *record.Backup // the backup that failed last, if it began after that; nil if none did
	Active   *record.Backup // the backup in progress; nil if there is none
	Interval time.Duration  // how often a restore point is expected; 0 = never
	Overdue  bool           // the newest good restore point is older than that, or the VM was added that long ago and has none
}

// BackupsOf returns what the records say about the backups of VMs, in their order. Overdue means what the alert SendenseNoRecentBackup
// means, and restore points count as in the metrics.
func (a *Agent) BackupsOf(vms []record.VM) ([]VMBackups, error) {
	now := time.Now()
	names, repositories := make([]string, len(vms)), []string{}
	for i, vm := range vms {
		names[i] = vm.Name
	}
	for _, r := range a.Repositories.All {
		repositories = append(repositories, r.ID)
	}
	latest, err := a.store.LatestOf(names, repositories, now)
	if err != nil {
		return nil, fault.From(err)
	}
	active, err := a.store.Active()
	if err != nil {
		return nil, ledger.NotFound(err)
	}
	running := map[string]*record.Backup{}
	for i, b := range active {
		running[b.VM.Name] = &active[i]
	}
	list := make([]VMBackups, len(vms))
	for i, vm := range vms {
		list[i] = vmBackups(vm, latest[i], a.interval(vm), now)
		list[i].Active = running[vm.Name]
	}
	return list, nil
}

// BackupsOfAll is BackupsOf of all VMs on record.
func (a *Agent) BackupsOfAll() ([]VMBackups, error) {
	all, err := a.Inventory.All()
	if err != nil {
		return nil, err
	}
	return a.BackupsOf(all)
}

// interval is how often a restore point of a VM is expected: as its record says, or its groups, or metrics.backup_interval. 0 is never.
func (a *Agent) interval(vm record.VM) time.Duration {
	configured := a.config.Metrics.BackupInterval.Std()
	if rpo := group.RPO(a.config.Groups, vm).Std(); rpo > 0 {
		configured = rpo
	}
	return vm.BackupInterval.Or(configured)
}

func vmBackups(vm record.VM, of query.Latest, interval time.Duration, now time.Time) VMBackups {
	w := VMBackups{VMName: vm.Name, Interval: interval}
	since := record.Believed(vm.AddedAt, now)
	if of.Good.ID != "" {
		w.Good, w.GoodAt = &of.Good, query.Ended(of.Good, now)
		since = w.GoodAt
	}
	if of.Failed.ID != "" && (w.Good == nil || of.Failed.CreatedAt.After(w.Good.CreatedAt)) {
		w.Failed = &of.Failed
	}
	w.Overdue = interval > 0 && now.Sub(since) > interval
	return w
}
