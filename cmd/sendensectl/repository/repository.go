// Package repository has the commands that show and pause repositories. It prints them for status, too.
package repository

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// Command makes "repository" with its verbs.
func Command(a *command.App) *cobra.Command {
	return command.WithVerbs("repository", "Show and pause the repositories that hold backups", listCommand(a), showCommand(a), pauseCommand(a), resumeCommand(a))
}

func listCommand(a *command.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the repositories with their free space", Args: command.NoArgs}
	return a.Poll(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*output.Printer), error) {
		list, err := c.ListRepositories(ctx)
		return list, func(p *output.Printer) { Print(p, list.Repositories) }, err
	})
}

// Print prints a table of repositories. Below it, it says what is wrong with which of them.
func Print(p *output.Printer, list []rpc.Repository) {
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{r.RepositoryID, space(r, r.FreeBytes), space(r, r.TotalBytes), usedPart(r), words(r), encryption(r), strconv.Itoa(r.RestorePoints), r.Path})
	}
	p.Table([]output.Column{{Title: "repository"}, {Title: "free"}, {Title: "size"}, {Title: "used", Rank: 2}, {Title: "state"}, {Title: "key", Rank: 4}, {Title: "points", Rank: 3}, {Title: "path", Rank: 1}}, rows)
	for _, r := range list {
		for _, about := range describe.RepositoryTroubles(r) {
			p.Prose("Repository %s %s", r.RepositoryID, about)
		}
	}
}

// space is a size of the file system; "-" if it is not known.
func space(r rpc.Repository, n uint64) string {
	if r.TotalBytes == 0 {
		return "-"
	}
	return human.Size(n)
}

// usedPart is the used part of the file system; "" if it is not known.
func usedPart(r rpc.Repository) string {
	if r.TotalBytes == 0 {
		return ""
	}
	return human.Percent(1 - float64(min(r.FreeBytes, r.TotalBytes))/float64(r.TotalBytes))
}

// words are the state of a repository in a word or two: ok, slow, stuck or unusable; paused.
func words(r rpc.Repository) string {
	state := cmp.Or(r.State, "ok")
	if r.Error != "" && r.State != describe.Stuck {
		state = "unusable"
	}
	switch {
	case r.Paused == nil:
		return state
	case state == "ok":
		return "paused"
	}
	return state + ", paused"
}

// state is the state of one repository with its details.
func state(r rpc.Repository) string {
	var list []string
	switch {
	case r.State == describe.Stuck && !r.StuckSince.IsZero():
		list = append(list, describe.StuckSince(r))
	case r.Error != "":
		list = append(list, r.Error)
	default:
		list = append(list, cmp.Or(r.State, "ok"))
	}
	if r.Paused != nil {
		list = append(list, describe.Paused(*r.Paused))
	}
	return strings.Join(list, "; ")
}

// Catalog says whether the catalog agrees with the repositories.
func Catalog(differences int, list ...rpc.Repository) string {
	if differences > 0 {
		differ := " DIFFER"
		if differences == 1 {
			differ += "S"
		}
		return human.Count(differences, "restore point") + differ + " between catalog and repository; for details: sendensectl doctor"
	}
	for _, r := range list {
		if r.Catalog.Error != "" || r.Catalog.ComparedAt.IsZero() {
			return cmp.Or(r.Catalog.Error, "not yet compared with repository "+r.RepositoryID)
		}
	}
	return "agrees with the repositories"
}

// encryption is the name of the key for new backups.
func encryption(r rpc.Repository) string { return cmp.Or(r.EncryptionKey, "not encrypted") }

func showCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "show REPOSITORY", Short: "Show a repository", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.RepositoryIDs),
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			r, err := c.GetRepository(ctx, args[0])
			if err != nil {
				return err
			}
			return a.Show(r, func(p *output.Printer) {
				p.Pairs("repository", r.RepositoryID, "path", r.Path, "state", state(r), "encryption key", encryption(r), "free", space(r, r.FreeBytes),
					"size", space(r, r.TotalBytes), "used", usedPart(r), "cache mode", r.Cache, "aio mode", r.AIO,
					"points", human.Count(r.RestorePoints, "restore point"), "in progress", activity(r.Activity),
					"catalog", Catalog(r.Catalog.Unrecorded+r.Catalog.Missing+r.Catalog.Different, r))
			})
		}),
	}
}
