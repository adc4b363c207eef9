package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) repositoryCommand() *cobra.Command {
	return noun("repository", "Repositories that backups go to", a.repositoryList(), a.repositoryShow())
}

func (a *app) repositoryList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List repositories with their free space", Args: cobra.NoArgs,
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			list, err := c.ListRepositories(ctx)
			if err != nil {
				return err
			}
			return a.show(list, func(p *printer) { printRepositories(p, list.Repositories) })
		}),
	}
}

func printRepositories(p *printer, list []rpc.Repository) {
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{r.RepositoryID, humanSize(r.FreeBytes), humanSize(r.TotalBytes), usable(r), r.Path})
	}
	p.table([]string{"repository", "free", "size", "state", "path"}, rows)
}

func usable(r rpc.Repository) string {
	if r.Error != "" {
		return r.Error
	}
	return "usable"
}

func (a *app) repositoryShow() *cobra.Command {
	return &cobra.Command{
		Use: "show REPOSITORY", Short: "Show a repository", Args: cobra.ExactArgs(1),
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			r, err := c.GetRepository(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(r, func(p *printer) {
				p.pairs("repository", r.RepositoryID, "path", r.Path, "state", usable(r), "free", humanSize(r.FreeBytes),
					"size", humanSize(r.TotalBytes), "cache mode", r.Cache, "aio mode", r.AIO)
			})
		}),
	}
}
