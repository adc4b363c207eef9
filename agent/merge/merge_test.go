package merge_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// TestSyntheticFull: an incremental becomes a full backup with unchanged content, whatever has happened to its VM. What it was based
// on can be deleted; its children stay.
func TestSyntheticFull(t *testing.T) {
	w := agenttest.New(t)
	points := w.Chains.Life("vm")
	b, err := w.Agent.Merges.SyntheticFull(t.Context(), points[3].ID)
	agenttest.Must(t, err)
	if b.Type != record.Full || b.Parent != "" || b.Merge != nil || b.Merged == nil || !b.Merged.Synthetic || b.Merged.Points != 3 {
		t.Errorf("%+v, %+v", b, b.Merged)
	}
	w.Chains.Whole(points...)
	again, err := w.Agent.Merges.SyntheticFull(t.Context(), points[3].ID)
	if err != nil || !again.UpdatedAt.Equal(b.UpdatedAt) {
		t.Errorf("it is done once more: %+v, %v", again, err)
	}
	w.Chains.Verified(points[3].ID)
	for _, i := range []int{2, 1, 0} {
		agenttest.Must(t, w.Agent.Policies.Delete(t.Context(), points[i].ID, false))
	}
	w.Chains.Whole(points[3:]...)
	next := w.Point("vm", record.Incremental)
	if next.Parent != points[4].ID {
		t.Errorf("the next one stands on %s", next.Parent)
	}
	err = w.Agent.Policies.Delete(t.Context(), points[3].ID, false)
	if e := new(fault.Error); !errors.As(err, &e) || e.Reason != fault.HasChildren {
		t.Errorf("it may be deleted although others stand on it: %v", err)
	}
}

// TestMergeProvesLayers: a merge refuses an image with a flipped bit. The digest of the new image would call that bit valid.
func TestMergeProvesLayers(t *testing.T) {
	w := agenttest.New(t)
	points := w.Chains.Large()
	agenttest.FlipLast(t, points[0].Runs[0].Image)
	_, err := w.Agent.Merges.SyntheticFull(t.Context(), points[1].ID)
	if e := new(fault.Error); !errors.As(err, &e) || e.Reason != fault.ImageFailed || !strings.Contains(err.Error(), points[0].Runs[0].Image) {
		t.Errorf("%v", err)
	}
	agenttest.FlipLast(t, points[0].Runs[0].Image)
	w.Merges.AsBefore(points)
}
