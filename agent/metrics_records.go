package agent

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/store"
)

// maxVMSeries bounds how many VMs have series of their own, in the order of their names: each is read from the database
// at every scrape. The rest is counted as omitted.
const maxVMSeries = store.MaxPage

var (
	descActive = prometheus.NewDesc("sendense_backup_active",
		"Backups that have not ended, by state; queued is the length of the queue.", []string{"state"}, nil)
	descActiveInfo = prometheus.NewDesc("sendense_backup_active_info",
		"Always 1; the labels are VM, type, repository and state of a backup that has not ended and does not wait in the queue.",
		[]string{"vm", "type", "repository", "state"}, nil)
	descPorts = prometheus.NewDesc("sendense_agent_ports",
		"Ports for exports: leased, cooling (a late client may still come), foreign (held by another process) and free.",
		[]string{"state"}, nil)
	descStoreSize = prometheus.NewDesc("sendense_agent_store_size_bytes", "Size of the database.", nil, nil)

	descVMs        = prometheus.NewDesc("sendense_agent_vms", "VMs on record.", nil, nil)
	descVMsOmitted = prometheus.NewDesc("sendense_agent_vms_omitted",
		"VMs on record without series of their own, because there are too many.", nil, nil)
	descLastSuccess = prometheus.NewDesc("sendense_backup_last_success_timestamp_seconds",
		"Time at which the newest restore point of a VM in a repository was completed, as Unix time.", []string{"vm", "repository"}, nil)
	descLastReceived = prometheus.NewDesc("sendense_backup_last_success_received_bytes",
		"Bytes received on the wire for the newest restore point of a VM in a repository.", []string{"vm", "repository"}, nil)
)

// scrapeDatabase reads what goes on now. The work depends on the active backups, not on how many have ended.
func (a *Agent) scrapeDatabase(context.Context) ([]prometheus.Metric, error) {
	active, err := a.store.Active()
	if err != nil {
		return nil, err
	}
	list := []prometheus.Metric{gauge(descStoreSize, float64(a.store.SizeBytes()))}
	count := map[backup.State]int{}
	for _, b := range active {
		count[b.State]++
		if b.State != backup.Queued { // the queue may be long
			list = append(list, gauge(descActiveInfo, 1, b.VM.Name, string(b.Type), b.Repository, string(b.State)))
		}
	}
	for _, state := range backup.States {
		if state.Active() {
			list = append(list, gauge(descActive, float64(count[state]), string(state)))
		}
	}
	ports, err := a.scrapePorts()
	return append(list, ports...), err
}

func (a *Agent) scrapePorts() ([]prometheus.Metric, error) {
	leases, err := a.store.Leases()
	if err != nil {
		return nil, err
	}
	cooling, _, err := a.store.Cooling(time.Now())
	if err != nil {
		return nil, err
	}
	states := map[uint16]string{}
	for port := int(a.ports.First); port <= int(a.ports.Last); port++ {
		states[uint16(port)] = "free"
		if a.foreign.has(uint16(port)) {
			states[uint16(port)] = "foreign"
		}
	}
	for _, c := range cooling {
		states[c.Port] = "cooling"
	}
	for _, l := range leases {
		states[l.Port] = "leased"
	}
	count := map[string]int{}
	for _, state := range states {
		count[state]++
	}
	var list []prometheus.Metric
	for _, state := range []string{"leased", "cooling", "foreign", "free"} {
		list = append(list, gauge(descPorts, float64(count[state]), state))
	}
	return list, nil
}

// scrapePoints reads the newest restore point of every VM on record in every repository. Each is one look at an index,
// however many records there are.
func (a *Agent) scrapePoints(ctx context.Context) ([]prometheus.Metric, error) {
	counts, err := a.store.Counts(time.Now())
	if err != nil {
		return nil, err
	}
	vms, _, err := a.store.VMs("", maxVMSeries)
	if err != nil {
		return nil, err
	}
	list := []prometheus.Metric{
		gauge(descVMs, float64(counts.VMs)),
		gauge(descVMsOmitted, float64(max(counts.VMs-len(vms), 0))),
	}
	for _, vm := range vms {
		for _, r := range a.repositories {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			b, found, err := a.store.LatestCompleted(vm.Name, r.ID)
			if err != nil {
				return nil, err
			}
			if found {
				list = append(list,
					gauge(descLastSuccess, float64(b.EndedAt.UnixMilli())/1000, vm.Name, r.ID),
					gauge(descLastReceived, float64(summarize(b, recorded(b)).ReceivedBytes), vm.Name, r.ID))
			}
		}
	}
	return list, nil
}
