package agent

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

var (
	descVMs        = prometheus.NewDesc("sendense_agent_vms", "VMs on record.", nil, nil)
	descVMsOmitted = prometheus.NewDesc("sendense_agent_vms_omitted",
		"VMs on record without series of their own (metrics.max_vms).", nil, nil)
	descLastSuccess = prometheus.NewDesc("sendense_backup_last_success_timestamp_seconds",
		"Time at which the newest restore point of a VM in a repository was completed, as Unix time; damaged ones and dates in the future do not count.", []string{"vm", "repository"}, nil)
	descLastReceived = prometheus.NewDesc("sendense_backup_last_success_received_bytes",
		"Bytes received on the wire for the newest restore point of a VM in a repository.", []string{"vm", "repository"}, nil)
	descLastSize = prometheus.NewDesc("sendense_backup_last_success_size_bytes",
		"Size of all disks in the newest restore point of a VM in a repository.", []string{"vm", "repository"}, nil)
	descSnapshot = prometheus.NewDesc("sendense_backup_snapshot_may_remain",
		"1 if a failed backup may have left its snapshot on the VM; 0 after a later restore point.",
		[]string{"vm"}, nil)
	descVMInterval = prometheus.NewDesc("sendense_agent_vm_backup_interval_seconds",
		"Interval at which a restore point of a VM is expected; no series if none is expected.", []string{"vm"}, nil)
	descVMAdded = prometheus.NewDesc("sendense_agent_vm_added_timestamp_seconds",
		"Time at which a VM was added, as Unix time; 0 = not known, or in the future.", []string{"vm"}, nil)
)

// scrapeVMs tells of every VM on record, in the order of their names and as many as metrics.max_vms allows, what is expected
// of it and what its newest restore point in every repository is. Each is one look at an index, however many records there
// are.
func (a *Agent) scrapeVMs(ctx context.Context) ([]prometheus.Metric, error) {
	counts, err := a.store.Counts(time.Now())
	if err != nil {
		return nil, err
	}
	vms, err := a.watchedVMs()
	if err != nil {
		return nil, err
	}
	list := []prometheus.Metric{
		gauge(descVMs, float64(counts.VMs)),
		gauge(descVMsOmitted, float64(max(counts.VMs-len(vms), 0))),
	}
	for _, vm := range vms {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		of, err := a.scrapeVM(vm)
		if err != nil {
			return nil, err
		}
		list = append(list, of...)
	}
	return list, nil
}

// watchedVMs are the VMs that have series of their own.
func (a *Agent) watchedVMs() (vms []record.VM, err error) {
	for after, most := "", a.config.Metrics.MaxVMs; len(vms) < most; {
		var page []record.VM
		if page, after, err = a.store.VMs(after, min(most-len(vms), store.MaxPage)); err != nil {
			return nil, err
		}
		if vms = append(vms, page...); after == "" {
			break
		}
	}
	return vms, nil
}

func (a *Agent) scrapeVM(vm record.VM) ([]prometheus.Metric, error) {
	now := time.Now()
	list := []prometheus.Metric{gauge(descVMAdded, max(unixTime(record.Believed(vm.AddedAt, now)), 0), vm.Name)}
	if interval := vm.BackupInterval.Or(a.config.Metrics.BackupInterval.Std()); interval > 0 {
		list = append(list, gauge(descVMInterval, interval.Seconds(), vm.Name))
	}
	remains, err := a.snapshotMayRemain(vm.Name, now)
	if err != nil {
		return nil, err
	}
	list = append(list, gauge(descSnapshot, map[bool]float64{true: 1}[remains], vm.Name))
	for _, r := range a.Repositories.All {
		b, found, err := a.store.LatestCompleted(vm.Name, r.ID)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		p := backup.Summarize(b, backup.Recorded(b))
		if ended, known, err := a.lastSuccess(vm.Name, r.ID, now); err != nil {
			return nil, err
		} else if known {
			list = append(list, gauge(descLastSuccess, unixTime(ended), vm.Name, r.ID))
		}
		list = append(list,
			gauge(descLastReceived, float64(p.ReceivedBytes), vm.Name, r.ID),
			gauge(descLastSize, float64(p.TotalBytes), vm.Name, r.ID))
		list = append(list, verifiedPoint(b, r.ID, now)...)
	}
	return list, nil
}

// lastSuccess is when a VM was last backed up, as far as it is known. Nobody knows how old a restore point is that a clock dated in
// the future, and nobody can rely on one that is damaged: the one before it counts. A VM is rather told late than never.
func (a *Agent) lastSuccess(vm, repository string, now time.Time) (ended time.Time, known bool, err error) {
	b, known, err := a.store.LatestGood(vm, repository, now)
	if err != nil || !known {
		return time.Time{}, false, err
	}
	if record.Future(b.EndedAt, now) { // the clock was set while it was made
		return b.CreatedAt, true, nil
	}
	return b.EndedAt, true, nil
}

// snapshotLooks bounds how many backups are looked at that ended before their client had begun: they say nothing of a snapshot.
const snapshotLooks = 10

// snapshotMayRemain says whether the VM may have the snapshot of an earlier backup. The client of a restore point removes what others
// have left, before it makes its own. What was made last tells, also where a clock has dated something else in the future.
func (a *Agent) snapshotMayRemain(vmName string, now time.Time) (bool, error) {
	ahead := now.Add(record.ClockTolerance)
	last, err := a.lastAtWork(store.Query{VMName: vmName, Until: ahead})
	if err != nil {
		return false, err
	}
	dated, err := a.lastAtWork(store.Query{VMName: vmName, Since: ahead})
	if err != nil {
		return false, err
	}
	if dated.Sequence > last.Sequence {
		last = dated
	}
	return last.SnapshotMayRemain, nil
}

// lastAtWork is the newest of some backups whose client has made a snapshot, as far as it is known; the zero one for none.
func (a *Agent) lastAtWork(q store.Query) (record.Backup, error) {
	q.Limit = 1
	for range snapshotLooks {
		page, next, err := a.store.Backups(q)
		if err != nil {
			return record.Backup{}, err
		}
		for _, b := range page {
			if b.SnapshotMayRemain || b.State == record.Completed {
				return b, nil
			}
		}
		if q.Cursor = next; next == "" {
			break
		}
	}
	return record.Backup{}, nil
}

func unixTime(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
