package command

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/rpc"
)

const (
	completeWithin = time.Second // a shell that hangs is worse than one without completion
	completeMost   = 1000        // most words to offer
)

// words asks the agent for completions of a prefix: each is a word, or a word, a tab and a description.
type words func(ctx context.Context, c *rpc.Client, prefix string) ([]cobra.Completion, error)

// CompleteFirst completes the first argument of a command only.
func (a *App) CompleteFirst(list words) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.offer(c.Context(), list, prefix)
	}
}

// CompleteFlag completes the value of a flag.
func (a *App) CompleteFlag(c *cobra.Command, flag string, list words) {
	CompleteWith(c, flag, func(c *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return a.offer(c.Context(), list, prefix)
	})
}

// CompleteWords completes the value of a flag that takes one of a few words.
func CompleteWords(c *cobra.Command, flag string, list []string) {
	CompleteWith(c, flag, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp))
}

// FileNames completes directories, and files with one of these extensions.
func FileNames(endings ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return endings, cobra.ShellCompDirectiveFilterFileExt
	}
}

// CompleteWith sets the completion of a flag.
func CompleteWith(c *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // there is no such flag
	}
}

// offer asks the agent for words. Without an agent, it offers none.
func (a *App) offer(ctx context.Context, list words, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	c, err := rpc.Dial(ctx, a.Socket)
	if err != nil {
		return nil, directive
	}
	defer c.Close()
	found, err := list(ctx, c, prefix)
	if err != nil {
		return nil, directive
	}
	return slices.DeleteFunc(found, func(word cobra.Completion) bool { return !offerable(word, prefix) }), directive
}

// offerable reports whether a shell can take the word: it reads one word per line.
func offerable(word cobra.Completion, prefix string) bool {
	name, about, _ := strings.Cut(word, "\t")
	return strings.HasPrefix(name, prefix) && !strings.ContainsFunc(name+about, unicode.IsControl)
}

// VMNames are the names of the VMs on record.
func VMNames(ctx context.Context, c *rpc.Client, prefix string) (list []cobra.Completion, err error) {
	vms, err := AllVMs(ctx, c)
	for _, vm := range vms {
		if strings.HasPrefix(vm.VMName, prefix) && len(list) < completeMost {
			list = append(list, cobra.CompletionWithDesc(vm.VMName, human.Count(len(vm.Disks), "disk")+", "+human.Size(describe.TotalBytes(vm))))
		}
	}
	return list, err
}

// AllVMs are the VMs on record, sorted by name.
func AllVMs(ctx context.Context, c *rpc.Client) (list []rpc.VM, err error) {
	list, _, err = allVMs(ctx, c, rpc.VMQuery{Limit: completeMost})
	return list, err
}

// AllVMsWithBackups are the VMs on record, and what is known about the backups of each.
func AllVMsWithBackups(ctx context.Context, c *rpc.Client) ([]rpc.VM, []rpc.VMBackups, error) {
	return allVMs(ctx, c, rpc.VMQuery{Limit: completeMost, Backups: true})
}

func allVMs(ctx context.Context, c *rpc.Client, q rpc.VMQuery) (vms []rpc.VM, of []rpc.VMBackups, err error) {
	vms, of = []rpc.VM{}, []rpc.VMBackups{}
	for {
		page, err := c.ListVMs(ctx, q)
		if err != nil {
			return nil, nil, err
		}
		vms, of = append(vms, page.VMs...), append(of, page.Backups...)
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			return vms, of, nil
		}
	}
}

// VCenterNames are the names of the configured vCenters.
func VCenterNames(ctx context.Context, c *rpc.Client, _ string) ([]cobra.Completion, error) {
	s, err := c.Status(ctx)
	return s.VCenters, err
}

// RepositoryIDs are the ids of the configured repositories.
func RepositoryIDs(ctx context.Context, c *rpc.Client, _ string) (list []cobra.Completion, err error) {
	found, err := c.ListRepositories(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range found.Repositories {
		list = append(list, cobra.CompletionWithDesc(r.RepositoryID, human.Size(r.FreeBytes)+" free"))
	}
	return list, nil
}

// CompleteDisk completes the arguments of restore disk: restore point, disk, file.
func (a *App) CompleteDisk(c *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return a.offer(c.Context(), RestorePoints, prefix)
	case 1:
		return a.offer(c.Context(), func(ctx context.Context, c *rpc.Client, _ string) (list []cobra.Completion, err error) {
			id, err := reference.Backup(ctx, c, args[0], false)
			if err != nil {
				return nil, err
			}
			b, err := c.GetBackup(ctx, id)
			for _, d := range b.Disks {
				list = append(list, cobra.CompletionWithDesc(strconv.Itoa(d.DiskID), human.Size(d.CapacityBytes)))
			}
			return list, err
		}, prefix)
	case 2:
		return nil, cobra.ShellCompDirectiveDefault // a file
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
