package prune

import (
	"sync"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/store"
)

// pruning tells to which restore points the policies are being applied. A prune claims one VM in one repository at a time, so that a
// slow VM does not delay the others.
type pruning struct {
	mu     sync.Mutex
	whole  map[string]bool // repositories to which a prune applies the policies, all VMs
	groups map[store.PointGroup]bool
}

// begin returns the lines that no other prune does already, each with its claim. It refuses a request if others do all of it.
func (p *pruning) begin(lines []*line, r Request) (free, busy []*line, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range lines {
		if r.VMName != "" {
			for _, g := range l.groups {
				if p.groups[g] {
					return nil, nil, pruneBusy("the policies are already being applied to vm %q in repository %s", g.VM, g.Repository)
				}
			}
			free = append(free, l)
			continue
		}
		if p.whole[l.repository] {
			busy = append(busy, l)
			continue
		}
		if p.whole == nil {
			p.whole = map[string]bool{}
		}
		p.whole[l.repository] = true
		l.release = func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.whole, l.repository)
		}
		free = append(free, l)
	}
	if len(free) == 0 && len(busy) > 0 {
		return nil, nil, pruneBusy("the policies are already being applied")
	}
	return free, busy, nil
}

func pruneBusy(format string, args ...any) *fault.Error {
	return fault.New(fault.Busy, format, args...).WithHint("wait until it ends; a dry run shows how far it is")
}

// claim claims a VM in a repository, unless another prune has claimed it.
func (p *pruning) claim(g store.PointGroup) (release func(), free bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.groups[g] {
		return func() {}, false
	}
	if p.groups == nil {
		p.groups = map[store.PointGroup]bool{}
	}
	p.groups[g] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.groups, g)
	}, true
}
