package prune

import (
	"sync"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/store"
)

// pruning tells to which restore points the policies are being applied. A prune claims one VM in one repository at a time, so that a
// slow VM does not delay the others.
type pruning struct {
	mu         sync.Mutex
	everything bool // a prune of every VM and repository is in progress
	groups     map[store.PointGroup]bool
}

// everything reports whether a request is for every VM and repository.
func (r Request) everything() bool { return r.VMName == "" && r.Repository == "" }

// begin refuses a request if a prune that does the same is in progress.
func (p *pruning) begin(groups []store.PointGroup, r Request) (release func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.everything() {
		if p.everything {
			return nil, pruneBusy("the policies are already being applied")
		}
		p.everything = true
		return func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.everything = false
		}, nil
	}
	for _, g := range groups {
		if r.VMName != "" && p.groups[g] {
			return nil, pruneBusy("the policies are already being applied to vm %q in repository %s", g.VM, g.Repository)
		}
	}
	return func() {}, nil
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
