package translate

import (
	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/rpc"
)

func merged(r *record.Merged) *rpc.Merged {
	if r == nil {
		return nil
	}
	return &rpc.Merged{At: r.At.UTC(), Synthetic: r.Synthetic, Points: r.Points}
}

// merge is the progress of a merge; nil if there is none.
func merge(a *agent.Agent, id string) *rpc.Merge {
	p, ok := a.Merges.Progress(id)
	if !ok {
		return nil
	}
	return &rpc.Merge{Onto: p.Onto, Phase: p.Phase, Fraction: p.Fraction, WaitsFor: p.WaitsFor}
}
