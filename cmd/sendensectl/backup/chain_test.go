package backup

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/creachadair/jrpc2/handler"
	"github.com/google/go-cmp/cmp"

	"pgregory.net/rapid"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// TestChainAsMade: a chain is drawn in the order of creation, whatever the dates.
func TestChainAsMade(t *testing.T) {
	now := time.Now()
	lines := drawTree([]rpc.ChainPoint{
		{BackupID: "c", Sequence: 3, CreatedAt: now}, {BackupID: "b", Sequence: 2, CreatedAt: now.AddDate(5, 0, 0)}, {BackupID: "a", Sequence: 1, CreatedAt: now},
	})
	if lines[0].point.BackupID+lines[1].point.BackupID+lines[2].point.BackupID != "abc" {
		t.Errorf("%+v", lines)
	}
}

// chainPoints makes restore points with these parents, by index; -1 is none.
func chainPoints(parents ...int) (points []rpc.ChainPoint) {
	for i, parent := range parents {
		p := rpc.ChainPoint{
			BackupID: "p" + string(rune('0'+i)), BackupType: rpc.Full, RepositoryID: "main", AllocatedBytes: 1 << 20,
			CreatedAt: time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC),
		}
		if parent >= 0 {
			p.BackupType, p.ParentBackupID = rpc.Incremental, "p"+string(rune('0'+parent))
		}
		points = append(points, p)
	}
	return points
}

// TestTree: a chain goes straight down, branches go to the right, and every root begins a new tree.
func TestTree(t *testing.T) {
	for name, c := range map[string]struct {
		points []rpc.ChainPoint
		want   []string
	}{
		"nothing":     {nil, nil},
		"a chain":     {chainPoints(-1, 0, 1), []string{"● p0", "● p1", "● p2"}},
		"two chains":  {chainPoints(-1, 0, -1, 2), []string{"● p0", "● p1", "● p2", "● p3"}},
		"a branch":    {chainPoints(-1, 0, 0, 1, 2), []string{"● p0", "├─● p1", "│ ● p3", "● p2", "● p4"}},
		"two of them": {chainPoints(-1, 0, 0, 0, 1, 1), []string{"● p0", "├─● p1", "│ ├─● p4", "│ ● p5", "├─● p2", "● p3"}},
		"no parent":   {chainPoints(-1, 7), []string{"● p0", "● p1"}},
	} {
		var got []string
		for _, l := range drawTree(c.points) {
			got = append(got, l.graph+l.point.BackupID)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestTreeHoldsAll: for all trees, every restore point is drawn once, after its parent, with the size of its chain.
func TestTreeHoldsAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var parents []int
		for i := range rapid.IntRange(0, 40).Draw(t, "points") {
			parents = append(parents, rapid.IntRange(-1, i-1).Draw(t, "parent"))
		}
		points := chainPoints(parents...)
		depth := map[string]int64{"": 0}
		for _, p := range points {
			depth[p.BackupID] = depth[p.ParentBackupID] + 1
		}
		seen := map[string]bool{"": true}
		for _, l := range drawTree(points) {
			p := l.point
			if seen[p.BackupID] || !seen[p.ParentBackupID] || l.chain != depth[p.BackupID]<<20 {
				t.Fatalf("%s of %v: seen %v, its parent %v, the whole %d", p.BackupID, parents, seen[p.BackupID], seen[p.ParentBackupID], l.chain)
			}
			seen[p.BackupID] = true
		}
		if len(seen) != len(points)+1 {
			t.Fatalf("%d of %d are drawn", len(seen)-1, len(points))
		}
	})
}

// TestChainFitsTheTerminal: with odd names on a narrow terminal, every line fits, and the tree is not cut.
func TestChainFitsTheTerminal(t *testing.T) {
	chain := rpc.Chain{VMName: "böse\n\u202evm", Points: chainPoints(-1, 0, 0, 1, -1)}
	chain.Points[2].Verified = &rpc.Verification{At: time.Now(), Damage: []rpc.VerifyDamage{{File: "x", Problem: "gone"}}}
	chain.Points[3].Tags = map[string]string{"\x1b[2J": "long " + strings.Repeat("x", 100)}
	p := &output.Printer{Width: 60}
	printChain(p, chain)
	text := p.Text()
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 60 || strings.ContainsRune(line, '\x1b') {
			t.Errorf("%d cells: %q", n, line)
		}
	}
	for _, words := range []string{"├─● p1", "│ ● p3", "1 MiB", "5 restore points, 5 MiB on disk"} {
		if !strings.Contains(text, words) {
			t.Errorf("%q is missing:\n%s", words, text)
		}
	}
	p = &output.Printer{}
	printChain(p, chain)
	for _, words := range []string{"damaged", "3 MiB", "2026-01-01"} {
		if !strings.Contains(p.Text(), words) {
			t.Errorf("%q is missing:\n%s", words, p.Text())
		}
	}
}

func TestChainAsked(t *testing.T) {
	want := rpc.Chain{VMName: "a b", Points: chainPoints(-1, 0)}
	socket := commandtest.FakeAgent(t, handler.Map{
		rpc.MethodBackupChain: handler.New(func(_ context.Context, r rpc.ChainRequest) rpc.Chain {
			if r != (rpc.ChainRequest{VMName: "a b", RepositoryID: "main"}) {
				t.Errorf("asked for %+v", r)
			}
			return want
		}),
	})
	_, stdout, _ := ctl(t, socket, "", "backup", "chain", "a b", "--repository", "main", "-o", "json")
	var got rpc.Chain
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v: %s", err, stdout)
	}
	for _, bad := range [][]string{
		{"backup", "list", "--tag", "=x"},
		{"backup", "list", "--tag", "a=1", "--tag", "a=2"},
		{"backup", "verify", "b", "--rate-limit", "fast"},
		{"backup", "verify"},
		{"backup", "chain"},
	} {
		if code, _, stderr := ctl(t, socket, "", bad...); code != exit.Usage {
			t.Errorf("%q: %d %s", bad, code, stderr)
		}
	}
}
