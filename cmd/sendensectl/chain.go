package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) backupChain() *cobra.Command {
	var q rpc.ChainRequest
	c := &cobra.Command{
		Use: "chain VM", Short: "Draw the restore points of a VM, and what each stands on",
		Long: `Draw the restore points of a VM as a tree, the first made first. Each stands on the next one above it in its column; where several
stand on one, all but the last branch off to the right. A full backup stands on nothing and begins a tree.

The size is what the images of the restore point take on the disk by themselves; the whole is the sum along its chain, without
which it cannot be restored.`,
		Example: `  sendensectl backup chain pgtest1
  sendensectl backup chain pgtest1 --repository main -o json`,
		Args: oneArg, ValidArgsFunction: a.completeFirst(vmNames),
	}
	c.Flags().StringVar(&q.RepositoryID, "repository", "", "only in the repository of this `ID`")
	a.completeFlag(c, "repository", repositoryIDs)
	return a.look(c, func(ctx context.Context, c *rpc.Client, args []string) (any, func(*printer), error) {
		q.VMName = args[0]
		chain, err := c.Chain(ctx, q)
		return chain, func(p *printer) {
			printChain(p, chain)
			p.none(len(chain.Points), "no restore points")
		}, err
	})
}

func printChain(p *printer, chain rpc.Chain) {
	var rows [][]string
	var sum int64
	for _, l := range drawTree(chain.Points) {
		c := l.point
		sum += c.AllocatedBytes
		state := verifiedText(c.Verified, c.InheritedFrom)
		if c.Problem != "" {
			state = c.Problem
		}
		rows = append(rows, []string{
			l.graph + c.BackupID, string(c.BackupType), datedText(c.CreatedAt, c.FutureDated), humanSize(c.AllocatedBytes), humanSize(l.whole),
			humanSize(c.TotalBytes), state, c.RepositoryID, tagList(c.Tags),
		})
	}
	p.table([]column{
		{title: "restore point"},
		{title: "type", rank: 2},
		{title: "taken", rank: 1},
		{title: "size"},
		{title: "whole", rank: 4},
		{title: "disks", rank: 5},
		{title: "verified", rank: 3},
		{title: "repository", rank: 6},
		{title: "tags", rank: 7, most: nameWidth},
	}, rows)
	if len(rows) > 0 {
		p.line("")
		p.line("%s, %s on the disk", count(len(rows), "restore point"), humanSize(sum))
	}
}

// A treeLine is one restore point as it is drawn.
type treeLine struct {
	graph string
	point rpc.ChainPoint
	whole int64 // what it and all it stands on take
}

// drawTree orders the restore points so that each comes after what it stands on, and draws the lines between them. One whose
// parent is not there begins a tree of its own.
func drawTree(points []rpc.ChainPoint) (lines []treeLine) {
	there, children := map[string]bool{}, map[string][]rpc.ChainPoint{}
	for _, p := range points {
		there[p.BackupID] = true
	}
	for _, p := range points {
		parent := p.ParentBackupID
		if !there[parent] || parent == p.BackupID {
			parent = ""
		}
		children[parent] = append(children[parent], p)
	}
	var draw func(p rpc.ChainPoint, mark, below string, under int64)
	draw = func(p rpc.ChainPoint, mark, below string, under int64) {
		whole := under + p.AllocatedBytes
		lines = append(lines, treeLine{mark + "● ", p, whole})
		next := children[p.BackupID]
		for i, c := range next {
			if i == len(next)-1 {
				draw(c, below, below, whole)
			} else {
				draw(c, below+"├─", below+"│ ", whole)
			}
		}
	}
	roots := children[""]
	slices.SortStableFunc(roots, func(x, y rpc.ChainPoint) int {
		return cmp.Or(cmp.Compare(x.Sequence, y.Sequence), x.CreatedAt.Compare(y.CreatedAt))
	})
	for _, p := range roots {
		draw(p, "", "", 0)
	}
	return lines
}
