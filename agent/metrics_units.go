package agent

import (
	"context"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/export"
)

var (
	descExports  = prometheus.NewDesc("sendense_agent_exports", "Disks that are being served.", nil, nil)
	descReceived = prometheus.NewDesc("sendense_agent_export_received_bytes_total",
		"Bytes received on the wire by the export of a disk; starts at 0 with each backup.", []string{"vm", "disk_id"}, nil)
	descOrphans = prometheus.NewDesc("sendense_agent_orphan_units",
		"Pairs of units with the name of an exporter that belong to no active backup or restore.", nil, nil)
)

// units reports the exporters, from one listing of systemd's units. A unit starts after its lease is made and is removed before the
// lease is returned. So a unit that no active backup or restore has, neither before nor after the listing, is an orphan.
func (sc *scrape) units(ctx context.Context) ([]prometheus.Metric, error) {
	owners := map[string]exportLabels{}
	if err := sc.addOwners(owners); err != nil {
		return nil, err
	}
	loaded, err := sc.agent.units.List(ctx, export.UnitPrefix)
	if err != nil {
		return nil, err
	}
	if err := sc.addOwners(owners); err != nil {
		return nil, err
	}
	received := map[exportLabels]uint64{} // a map: no export is reported twice, even if units change meanwhile
	running, orphans := 0, 0
	for _, u := range loaded {
		owner, ok := owners[u.Name]
		if !ok {
			orphans++
			continue
		}
		if u.Running() {
			running++
		}
		if u.Accounted && owner.disk != "" {
			received[owner] = max(received[owner], u.ReceivedBytes)
		}
	}
	list := []prometheus.Metric{gauge(descExports, float64(running)), gauge(descOrphans, float64(orphans))}
	for of, n := range received {
		list = append(list, prometheus.MustNewConstMetric(descReceived, prometheus.CounterValue, float64(n), of.vm, of.disk))
	}
	return list, nil
}

// exportLabels are the labels of an export.
type exportLabels struct{ vm, disk string }

// addOwners adds the units of every active backup and restore. Units of restores have no labels: what they receive counts for no disk.
func (sc *scrape) addOwners(owners map[string]exportLabels) error {
	active, err := sc.agent.store.Active()
	if err != nil {
		return err
	}
	for _, b := range active {
		for _, d := range b.Runs {
			owners[d.Unit] = exportLabels{b.VM.Name, strconv.Itoa(d.DiskID)}
		}
	}
	restores, err := sc.agent.store.ActiveRestores()
	if err != nil {
		return err
	}
	for _, r := range restores {
		for _, d := range r.Disks {
			owners[d.Unit] = exportLabels{} // a VM may be backed up and restored at the same time
		}
		if r.Files != nil {
			owners[r.Files.Unit] = exportLabels{}
		}
	}
	return nil
}
