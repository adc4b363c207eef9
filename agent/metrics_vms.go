package agent

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/backup/progress"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/agent/store/query"
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

// vms reports of each VM its expected interval and its newest restore point in every repository. It takes VMs in the order of their
// names, up to metrics.max_vms. Each value is one lookup in an index, however many records there are.
func (sc *scrape) vms(ctx context.Context) ([]prometheus.Metric, error) {
	counts, err := sc.agent.store.Counts(time.Now())
	if err != nil {
		return nil, err
	}
	vms, err := sc.watchedVMs()
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
		of, err := sc.vm(vm)
		if err != nil {
			return nil, err
		}
		list = append(list, of...)
	}
	return list, nil
}

// watchedVMs returns the VMs that have series of their own.
func (sc *scrape) watchedVMs() (vms []record.VM, err error) {
	for after, most := "", sc.agent.config.Metrics.MaxVMs; len(vms) < most; {
		var page []record.VM
		if page, after, err = sc.agent.store.VMs(after, min(most-len(vms), store.MaxPage)); err != nil {
			return nil, err
		}
		if vms = append(vms, page...); after == "" {
			break
		}
	}
	return vms, nil
}

func (sc *scrape) vm(vm record.VM) ([]prometheus.Metric, error) {
	now := time.Now()
	list := []prometheus.Metric{gauge(descVMAdded, max(unixTime(record.Believed(vm.AddedAt, now)), 0), vm.Name)}
	if interval := sc.agent.interval(vm); interval > 0 {
		list = append(list, gauge(descVMInterval, interval.Seconds(), vm.Name))
	}
	remains, err := sc.snapshotMayRemain(vm.Name, now)
	if err != nil {
		return nil, err
	}
	list = append(list, gauge(descSnapshot, map[bool]float64{true: 1}[remains], vm.Name))
	for _, r := range sc.agent.Repositories.All {
		b, found, err := sc.agent.store.LatestCompleted(vm.Name, r.ID)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		p := progress.Summarize(b, progress.Recorded(b))
		if ended, known, err := sc.lastSuccess(vm.Name, r.ID, now); err != nil {
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

// lastSuccess returns when a VM was last backed up, if known. Restore points that are damaged or dated in the future do not count: the
// one before them does. A backup that is reported late is better than one that is never reported late.
func (sc *scrape) lastSuccess(vm, repository string, now time.Time) (ended time.Time, known bool, err error) {
	b, known, err := sc.agent.store.LatestGood(vm, repository, now)
	if err != nil || !known {
		return time.Time{}, false, err
	}
	return query.Ended(b, now), true, nil
}

// maxSnapshotLookups limits how many backups are read that ended before their client started. Such backups tell nothing about a snapshot.
const maxSnapshotLookups = 10

// snapshotMayRemain reports whether the VM may still have the snapshot of an earlier backup. A client removes leftover snapshots before
// it makes its own, so the backup that was made last decides. That holds also when a wrong clock dated another one in the future.
func (sc *scrape) snapshotMayRemain(vmName string, now time.Time) (bool, error) {
	ahead := now.Add(record.ClockTolerance)
	last, err := sc.lastAtWork(store.Query{VMName: vmName, Until: ahead})
	if err != nil {
		return false, err
	}
	dated, err := sc.lastAtWork(store.Query{VMName: vmName, Since: ahead})
	if err != nil {
		return false, err
	}
	if dated.Sequence > last.Sequence {
		last = dated
	}
	return last.SnapshotMayRemain, nil
}

// lastAtWork returns the newest selected backup whose client made a snapshot, as far as known; the zero Backup if there is none.
func (sc *scrape) lastAtWork(q store.Query) (record.Backup, error) {
	q.Limit = 1
	for range maxSnapshotLookups {
		page, next, err := sc.agent.store.Backups(q)
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
