// Package group says which VMs belong to the configured groups, and why. It reads records of VMs and nothing else: what it says holds for
// the moment of the records. It does no I/O.
package group

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
)

// A Member is a VM and whether it belongs to a group.
type Member struct {
	VM  record.VM
	In  bool
	Why string // in words: what makes it a member, or excludes it
}

// Members says of each VM that fits the lists of a group whether it belongs to it: it does not if it is excluded, or vCenter does not have it
// any more. The order is that of vms.
func Members(g config.Group, vms []record.VM) (list []Member) {
	for _, vm := range vms {
		if m, fits := member(g, vm); fits {
			list = append(list, m)
		}
	}
	return list
}

func member(g config.Group, vm record.VM) (m Member, fits bool) {
	m.VM = vm
	var why []string
	for _, rule := range []struct {
		patterns []string
		fits     func(pattern string) bool
		words    string
	}{
		{g.VMs, func(p string) bool { return config.Match(p, vm.Name) }, "its name fits %q"},
		{g.VCenters, func(p string) bool { return p == vm.VCenter }, "it is in vCenter %s"},
		{g.Datacenters, func(p string) bool { return config.Match(p, path.Base(datacenter(vm))) }, "its datacenter fits %q"},
		{g.Folders, func(p string) bool { return inFolder(p, folder(vm)) }, "its folder fits %q"},
		{g.Tags, func(p string) bool {
			return slices.ContainsFunc(vm.Tags, func(tag string) bool { return config.Match(p, tag) })
		}, "a tag of it fits %q"},
	} {
		if len(rule.patterns) == 0 {
			continue
		}
		i := slices.IndexFunc(rule.patterns, rule.fits)
		if i < 0 {
			return m, false
		}
		why = append(why, fmt.Sprintf(rule.words, rule.patterns[i]))
	}
	m.In, m.Why = true, strings.Join(why, ", ")
	if i := slices.IndexFunc(g.Exclude, func(p string) bool { return config.Match(p, vm.Name) }); i >= 0 {
		m.In, m.Why = false, fmt.Sprintf("excluded: its name fits %q", g.Exclude[i])
	} else if !vm.MissingSince.IsZero() {
		m.In, m.Why = false, "vCenter does not have it any more"
	}
	return m, true
}

// vmFolder is the folder below each datacenter that holds all VMs of it, in inventory paths.
const vmFolder = "/vm/"

// datacenter is the path of the datacenter of a VM, such as "/DC1" or "/Europe/DC1"; "" if it is not known.
func datacenter(vm record.VM) string {
	before, _, found := strings.Cut(vm.InventoryPath, vmFolder)
	if !found {
		return ""
	}
	return before
}

// folder is the path of the folder of a VM below the datacenter, such as "Production/DB"; "" for none.
func folder(vm record.VM) string {
	_, below, _ := strings.Cut(vm.InventoryPath, vmFolder)
	if i := strings.LastIndex(below, "/"); i >= 0 {
		return below[:i]
	}
	return ""
}

// inFolder reports whether a folder, or one above it, fits a pattern.
func inFolder(pattern, name string) bool {
	for ; name != "" && name != "."; name = path.Dir(name) {
		if ok, err := path.Match(strings.Trim(pattern, "/"), name); ok && err == nil {
			return true
		}
	}
	return false
}

// Of returns the ids of the groups that a VM belongs to, in the order of groups.
func Of(groups []config.Group, vm record.VM) (ids []string) {
	for _, g := range groups {
		if m, fits := member(g, vm); fits && m.In {
			ids = append(ids, g.ID)
		}
	}
	return ids
}

// Union returns the VMs that belong to any of the groups, each once, sorted by name.
func Union(groups []config.Group, vms []record.VM) (list []record.VM) {
	for _, g := range groups {
		for _, m := range Members(g, vms) {
			if m.In {
				list = append(list, m.VM)
			}
		}
	}
	slices.SortFunc(list, func(a, b record.VM) int { return cmp.Compare(a.Name, b.Name) })
	return slices.CompactFunc(list, func(a, b record.VM) bool { return a.Name == b.Name })
}

// Ungrouped returns the VMs that belong to none of the groups, although no group excludes them and their vCenter has them: those that
// somebody may have forgotten. The order is that of vms.
func Ungrouped(groups []config.Group, vms []record.VM) (list []record.VM) {
	known := map[string]bool{}
	for _, g := range groups {
		for _, m := range Members(g, vms) {
			known[m.VM.Name] = true
		}
	}
	for _, vm := range vms {
		if !known[vm.Name] && vm.MissingSince.IsZero() {
			list = append(list, vm)
		}
	}
	return list
}

// RPO returns the shortest rpo of the groups that a VM belongs to; 0 if none has one.
func RPO(groups []config.Group, vm record.VM) (shortest config.Duration) {
	for _, g := range groups {
		m, _ := member(g, vm)
		if m.In && g.RPO.Std() > 0 && (shortest.Std() == 0 || g.RPO.Std() < shortest.Std()) {
			shortest = g.RPO
		}
	}
	return shortest
}
