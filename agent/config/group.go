package config

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Group is a set of VMs. A VM belongs to it if it fits each of the lists that are not empty, and is not excluded. The patterns are those
// of path.Match: * is any text without a slash, ? one character, [a-z] one of a range.
type Group struct {
	ID          string   `toml:"id"`          // 1 to 64 of A-Z a-z 0-9 . _ -
	VMs         []string `toml:"vms"`         // patterns of VM names
	VCenters    []string `toml:"vcenters"`    // names of configured vCenters
	Datacenters []string `toml:"datacenters"` // patterns of datacenter names
	Folders     []string `toml:"folders"`     // patterns of folders below the datacenter, such as "Production/*"; what is below belongs to it
	Tags        []string `toml:"tags"`        // patterns of tags; one tag of a VM that fits is enough
	Exclude     []string `toml:"exclude"`     // patterns of VM names that do not belong to it
	RPO         Duration `toml:"rpo"`         // oldest that the newest restore point of a VM may be; 0 = metrics.backup_interval
}

// Discovery is about looking for VMs before a scheduled run.
type Discovery struct {
	Interval Duration `toml:"interval"` // a run looks for VMs if the last discovery is older; 0 = never
}

func (c *Config) validateGroups(p *problems) {
	ids := map[string]bool{}
	for i, g := range c.Groups {
		key := p.id("group", i, g.ID, ids)
		p.check(len(g.VMs)+len(g.VCenters)+len(g.Datacenters)+len(g.Folders)+len(g.Tags) > 0, key,
			`chooses nothing: give it at least one of vms, vcenters, datacenters, folders and tags; vms = ["*"] chooses every VM`)
		for _, list := range []struct {
			name     string
			patterns []string
		}{{"vms", g.VMs}, {"datacenters", g.Datacenters}, {"folders", g.Folders}, {"tags", g.Tags}, {"exclude", g.Exclude}} {
			for _, pattern := range list.patterns {
				p.checkPattern(key+": "+list.name, pattern)
			}
		}
		for _, name := range g.VCenters {
			_, known := c.VCenters[name]
			p.check(known, key+": vcenters", "%q: no [vcenter.%s] is configured: add it, or name another", name, name)
		}
		p.check(g.RPO.Std() == 0 || g.RPO.Std() >= minInterval, key+": rpo", `%s: want "0s" for that of metrics.backup_interval, or at least "1m"`, g.RPO)
	}
	p.check(c.Discovery.Interval.Std() == 0 || c.Discovery.Interval.Std() >= minInterval, "discovery.interval",
		`%s: want "0s" for never, or at least "1m"`, c.Discovery.Interval)
}

// id checks the id of a table, and returns the words that name the table in messages.
func (p *problems) id(table string, number int, id string, ids map[string]bool) string {
	key := fmt.Sprintf("%s %q", table, id)
	if !safeID.MatchString(id) {
		key = fmt.Sprintf("%s number %d", table, number+1)
		p.add(key+": id", "%q: want 1 to 64 letters, digits, dots, underscores or dashes, and no dot or dash first", id)
	}
	p.check(!ids[id], key+": id", "is listed twice: give each %s its own id", table)
	ids[id] = true
	return key
}

// Match reports whether the name of a VM or a datacenter fits a pattern. Names may have slashes, which are no separators here.
func Match(pattern, name string) bool {
	const slash = "\x00"
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", slash), strings.ReplaceAll(name, "/", slash))
	return ok && err == nil
}

// checkPattern refuses what is no pattern.
func (p *problems) checkPattern(key, pattern string) {
	_, err := path.Match(pattern, "")
	p.check(err == nil && pattern != "", key, `%q: want a pattern such as "db-*"; write a literal [ as "\\["`, pattern)
}

// GroupIDs are the ids of the groups, in the order of the file.
func (c *Config) GroupIDs() []string {
	ids := make([]string, len(c.Groups))
	for i, g := range c.Groups {
		ids[i] = g.ID
	}
	return ids
}

// Group returns the group of an id, and whether there is one.
func (c *Config) Group(id string) (Group, bool) {
	i := slices.IndexFunc(c.Groups, func(g Group) bool { return g.ID == id })
	if i < 0 {
		return Group{}, false
	}
	return c.Groups[i], true
}
