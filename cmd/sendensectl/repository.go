package main

import (
	"cmp"
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) repositoryCommand() *cobra.Command {
	return noun("repository", "Repositories that backups go to", a.repositoryList(), a.repositoryShow())
}

func (a *app) repositoryList() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List repositories with their free space", Args: noArgs}
	return a.look(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*printer), error) {
		list, err := c.ListRepositories(ctx)
		return list, func(p *printer) { printRepositories(p, list.Repositories) }, err
	})
}

func printRepositories(p *printer, list []rpc.Repository) {
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{r.RepositoryID, humanSize(r.FreeBytes), humanSize(r.TotalBytes), usedPart(r), usable(r), encryption(r), strconv.Itoa(r.RestorePoints), r.Path})
	}
	p.table([]column{{title: "repository"}, {title: "free"}, {title: "size"}, {title: "used", rank: 2}, {title: "state"}, {title: "key", rank: 4}, {title: "points", rank: 3}, {title: "path", rank: 1}}, rows)
}

// usedPart is how full the file system is; nothing where it is not known.
func usedPart(r rpc.Repository) string {
	if r.TotalBytes == 0 {
		return ""
	}
	return percent(1 - float64(min(r.FreeBytes, r.TotalBytes))/float64(r.TotalBytes))
}

func usable(r rpc.Repository) string {
	if r.Error != "" {
		return r.Error
	}
	return "usable"
}

// catalogLine says whether what is on record agrees with what lies in repositories.
func catalogLine(differences int, list ...rpc.Repository) string {
	if differences > 0 {
		differ := " DIFFER"
		if differences == 1 {
			differ += "S"
		}
		return count(differences, "restore point") + differ + " from what is on record: sendensectl doctor says how"
	}
	for _, r := range list {
		if r.Catalog.Error != "" || r.Catalog.ComparedAt.IsZero() {
			return cmp.Or(r.Catalog.Error, "not compared yet with repository "+r.RepositoryID)
		}
	}
	return "agrees with what lies in the repositories"
}

// encryption is the name of the key of new backups.
func encryption(r rpc.Repository) string { return cmp.Or(r.EncryptionKey, "not encrypted") }

func (a *app) repositoryShow() *cobra.Command {
	return &cobra.Command{
		Use: "show REPOSITORY", Short: "Show a repository", Args: oneArg, ValidArgsFunction: a.completeFirst(repositoryIDs),
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			r, err := c.GetRepository(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(r, func(p *printer) {
				p.pairs("repository", r.RepositoryID, "path", r.Path, "state", usable(r), "encryption key", encryption(r), "free", humanSize(r.FreeBytes),
					"size", humanSize(r.TotalBytes), "used", usedPart(r), "cache mode", r.Cache, "aio mode", r.AIO,
					"points", count(r.RestorePoints, "restore point"),
					"catalog", catalogLine(r.Catalog.Unrecorded+r.Catalog.Missing+r.Catalog.Different, r))
			})
		}),
	}
}
