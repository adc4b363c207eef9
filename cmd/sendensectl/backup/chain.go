package backup

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

func chainCommand(a *command.App) *cobra.Command {
	var q rpc.ChainRequest
	c := &cobra.Command{
		Use: "chain VM", Short: "Draw the chains of restore points of a VM",
		Long: `Draw the restore points of a VM as a tree, the oldest first. The parent of each is the next one above it in its column. If a
restore point has several children, all but the last branch off to the right. A full backup has no parent and begins a tree.

SIZE is the disk space of the images of this restore point alone. CHAIN is the sum for its chain: a restore reads the whole
chain.`,
		Example: `  sendensectl backup chain pgtest1
  sendensectl backup chain pgtest1 --repository main -o json`,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.VMNames),
	}
	c.Flags().StringVar(&q.RepositoryID, "repository", "", "only in the repository with this `ID`")
	a.CompleteFlag(c, "repository", command.RepositoryIDs)
	return a.Poll(c, func(ctx context.Context, c *rpc.Client, args []string) (any, func(*output.Printer), error) {
		q.VMName = args[0]
		chain, err := c.Chain(ctx, q)
		return chain, func(p *output.Printer) {
			printChain(p, chain)
			p.None(len(chain.Points), "no restore points")
		}, err
	})
}

func printChain(p *output.Printer, chain rpc.Chain) {
	var rows [][]string
	var sum int64
	for _, l := range drawTree(chain.Points) {
		c := l.point
		sum += c.AllocatedBytes
		state := describe.Verified(c.Verified, c.InheritedFrom)
		if c.Problem != "" {
			state = c.Problem
		}
		rows = append(rows, []string{
			l.graph + c.BackupID, string(c.BackupType), human.Dated(c.CreatedAt, c.FutureDated), human.Size(c.AllocatedBytes), human.Size(l.chain),
			human.Size(c.TotalBytes), state, c.RepositoryID, tagList(c.Tags),
		})
	}
	p.Table([]output.Column{
		{Title: "restore point"},
		{Title: "type", Rank: 2},
		{Title: "created", Rank: 1},
		{Title: "size"},
		{Title: "chain", Rank: 4},
		{Title: "disks", Rank: 5},
		{Title: "verified", Rank: 3},
		{Title: "repository", Rank: 6},
		{Title: "tags", Rank: 7, Most: output.NameWidth},
	}, rows)
	if len(rows) > 0 {
		p.Line("")
		p.Line("%s, %s on disk", human.Count(len(rows), "restore point"), human.Size(sum))
	}
}

// A treeLine is a line of the drawing: one restore point.
type treeLine struct {
	graph string
	point rpc.ChainPoint
	chain int64 // disk space of its chain
}

// drawTree puts each restore point after its parent, and draws the lines between them. If the parent is missing, the restore point
// begins a new tree.
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
