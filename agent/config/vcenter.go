package config

import (
	"maps"
	"slices"
)

// WithoutDatacenter lists the vCenters that name no datacenter, sorted. Their VMs can be backed up, but not discovered or refreshed.
func (c *Config) WithoutDatacenter() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(c.VCenters)), func(name string) bool { return c.VCenters[name].Datacenter != "" })
}
