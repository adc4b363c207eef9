package prune

import (
	"sync"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/store"
)

// pruning says to which restore points the policies are being applied. A run claims one VM in one repository at a time, so that
// what takes long with one VM keeps no other from being pruned.
type pruning struct {
	mu         sync.Mutex
	everything bool // a run over all of them is under way
	groups     map[store.PointGroup]bool
}

// everything says whether a request is about every restore point.
func (r Request) everything() bool { return r.VMName == "" && r.Repository == "" }

// begin refuses a request that another one meets already.
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
	e := fault.New(fault.Busy, format, args...)
	e.Hint = "wait until it ends; a dry run shows how far it is"
	return e
}

// claim takes a VM in a repository, unless another run has it.
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
