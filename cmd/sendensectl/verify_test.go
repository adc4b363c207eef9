package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/creachadair/jrpc2/handler"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sendense/backup-agent/rpc"
)

// TestVerifyTells: what is damaged is named with what to do, and the exit code says which of the three it is.
func TestVerifyTells(t *testing.T) {
	disk := 1
	file := func(status rpc.FileStatus, problem, hint string) rpc.VerifyFile {
		return rpc.VerifyFile{BackupID: "backup-a-1", DiskID: &disk, Path: "/r/a/backup-a-1/a-disk1.qcow2", Bytes: 3 << 20, Status: status, Problem: problem, Hint: hint}
	}
	for name, c := range map[string]struct {
		report rpc.VerifyReport
		code   int
		says   []string
	}{
		"ok": {rpc.VerifyReport{Result: rpc.VerifyOK, Files: []rpc.VerifyFile{file(rpc.FileOK, "", "")}}, exitOK, []string{"a-disk1.qcow2", "3 MiB", "ok"}},
		"damaged": {
			rpc.VerifyReport{Result: rpc.VerifyDamaged, Files: []rpc.VerifyFile{file(rpc.FileDamaged, "is not what was written", "put it back from a copy"), file(rpc.FileOK, "", "")}},
			exitDamaged,
			[]string{"/r/a/backup-a-1/a-disk1.qcow2", "is not what was written", "put it back from a copy", "1 file is damaged"},
		},
		"incomplete": {
			rpc.VerifyReport{Result: rpc.VerifyIncomplete, Files: []rpc.VerifyFile{file(rpc.FileUndigested, "no digest", "")}},
			exitFailed,
			[]string{"undigested", "1 without a digest"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.report.BackupID = "backup-a-1"
			socket := fakeAgent(t, handler.Map{
				rpc.MethodBackupVerify: handler.New(func(_ context.Context, r rpc.VerifyRequest) rpc.VerifyReport {
					if !r.Deep || r.RateLimit != 100<<20 || !r.Progress {
						t.Errorf("asked for %+v", r)
					}
					return c.report
				}),
			})
			args := []string{"backup", "verify", "backup-a-1", "--deep", "--rate-limit", "100MiB"}
			code, stdout, stderr := ctl(t, socket, "", args...)
			for _, words := range c.says {
				if code != c.code || !strings.Contains(stdout+stderr, words) {
					t.Errorf("%d, want %d and the words %q\n%s\n%s", code, c.code, words, stdout, stderr)
				}
			}
			code, stdout, _ = ctl(t, socket, "", append(args, "-o", "json")...)
			var got rpc.VerifyReport
			if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != c.code || cmp.Diff(c.report, got) != "" {
				t.Errorf("%d, error %v: %s", code, err, stdout)
			}
		})
	}
}

// chainPoints makes restore points of which each names its parent by its place, -1 for none.
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

// TestTree: a chain goes straight down, what branches off stands to the right, and every root begins anew.
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

// TestTreeHoldsAll: whatever stands on whatever, every restore point is drawn once, after what it stands on, with all its chain
// takes.
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
			if seen[p.BackupID] || !seen[p.ParentBackupID] || l.whole != depth[p.BackupID]<<20 {
				t.Fatalf("%s of %v: seen %v, its parent %v, the whole %d", p.BackupID, parents, seen[p.BackupID], seen[p.ParentBackupID], l.whole)
			}
			seen[p.BackupID] = true
		}
		if len(seen) != len(points)+1 {
			t.Fatalf("%d of %d are drawn", len(seen)-1, len(points))
		}
	})
}

// TestChainFitsTheTerminal: with odd names and little room every line fits, and the tree stays whole.
func TestChainFitsTheTerminal(t *testing.T) {
	chain := rpc.Chain{VMName: "böse\n\u202evm", Points: chainPoints(-1, 0, 0, 1, -1)}
	chain.Points[2].Verified = &rpc.Verification{At: time.Now(), Damage: []rpc.VerifyDamage{{File: "x", Problem: "gone"}}}
	chain.Points[3].Tags = map[string]string{"\x1b[2J": "long " + strings.Repeat("x", 100)}
	p := &printer{width: 60}
	printChain(p, chain)
	text := p.text()
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 60 || strings.ContainsRune(line, '\x1b') {
			t.Errorf("%d cells: %q", n, line)
		}
	}
	for _, words := range []string{"├─● p1", "│ ● p3", "1 MiB", "5 restore points, 5 MiB on the disk"} {
		if !strings.Contains(text, words) {
			t.Errorf("%q is missing:\n%s", words, text)
		}
	}
	p = &printer{}
	printChain(p, chain)
	for _, words := range []string{"damaged", "3 MiB", "2026-01-01"} {
		if !strings.Contains(p.text(), words) {
			t.Errorf("%q is missing:\n%s", words, p.text())
		}
	}
}

func TestChainAsked(t *testing.T) {
	want := rpc.Chain{VMName: "a b", Points: chainPoints(-1, 0)}
	socket := fakeAgent(t, handler.Map{
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
		if code, _, stderr := ctl(t, socket, "", bad...); code != exitUsage {
			t.Errorf("%q: %d %s", bad, code, stderr)
		}
	}
}
