package command

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/rpc"
)

var (
	activeStates = reference.ActiveStates
	endedStates  = []rpc.BackupState{rpc.Completed, rpc.Failed, rpc.Cancelled, rpc.Deleting}

	// States are all states of a backup.
	States = func() (list []string) {
		for _, s := range append(activeStates, endedStates...) {
			list = append(list, string(s))
		}
		return list
	}()
)

// AnyBackups are the ids of all backups, the newest first.
func AnyBackups(ctx context.Context, c *rpc.Client, prefix string) ([]cobra.Completion, error) {
	return backupIDs(ctx, c, prefix, []rpc.BackupState{""})
}

// ActiveBackups are the ids of backups that have not ended.
func ActiveBackups(ctx context.Context, c *rpc.Client, prefix string) ([]cobra.Completion, error) {
	return backupIDs(ctx, c, prefix, activeStates)
}

// EndedBackups are the ids of backups that have ended.
func EndedBackups(ctx context.Context, c *rpc.Client, prefix string) ([]cobra.Completion, error) {
	return backupIDs(ctx, c, prefix, endedStates)
}

// backupIDs are ids of backups in these states. For a prefix that is no beginning of an id, they are references: latest, VM@latest and
// VM@2026-11-30.
func backupIDs(ctx context.Context, c *rpc.Client, prefix string, states []rpc.BackupState) (list []cobra.Completion, err error) {
	if at := strings.LastIndexByte(prefix, '@'); at >= 0 {
		return daysOf(ctx, c, prefix[:at])
	}
	var found []rpc.Backup
	for _, state := range states {
		page, err := c.ListBackups(ctx, rpc.BackupQuery{State: state, IDPrefix: prefix, Limit: completeMost})
		if err != nil {
			return nil, err
		}
		found = append(found, page.Backups...)
	}
	slices.SortStableFunc(found, func(a, b rpc.Backup) int { return b.CreatedAt.Compare(a.CreatedAt) })
	for _, b := range found {
		list = append(list, cobra.CompletionWithDesc(b.BackupID, string(b.State)+" "+string(b.BackupType)+" of "+human.Safe(b.VMName)+", "+human.ShortTime(b.CreatedAt)))
	}
	list = list[:min(len(list), completeMost)]
	if prefix == "" { // ids only: a shell completes the only one
		return list, nil
	}
	vms, err := VMNames(ctx, c, prefix)
	for _, vm := range vms {
		name, _, _ := strings.Cut(vm, "\t")
		list = append(list, cobra.CompletionWithDesc(name+"@"+reference.Latest, "the newest restore point"))
	}
	return append(list, cobra.CompletionWithDesc(reference.Latest, "the newest restore point of any VM")), err
}

// daysOf are the references to the restore points of a VM: the newest one, and the newest one of each day.
func daysOf(ctx context.Context, c *rpc.Client, vm string) ([]cobra.Completion, error) {
	page, err := c.ListBackups(ctx, rpc.BackupQuery{VMName: vm, State: rpc.Completed, Limit: completeMost})
	if err != nil || len(page.Backups) == 0 {
		return nil, err
	}
	list := []cobra.Completion{cobra.CompletionWithDesc(vm+"@"+reference.Latest, page.Backups[0].BackupID)}
	last := ""
	for _, b := range page.Backups {
		if day := vm + "@" + b.CreatedAt.Local().Format(reference.DayFormat); day != last {
			list = append(list, cobra.CompletionWithDesc(day, b.BackupID))
			last = day
		}
	}
	return list, nil
}

// RestorePoints are the ids of completed backups, the newest first.
func RestorePoints(ctx context.Context, c *rpc.Client, prefix string) ([]cobra.Completion, error) {
	return backupIDs(ctx, c, prefix, []rpc.BackupState{rpc.Completed})
}

// AnyRestores are the ids of all restores, the newest first.
func AnyRestores(ctx context.Context, c *rpc.Client, prefix string) ([]cobra.Completion, error) {
	return restoreIDs(ctx, c, rpc.RestoreQuery{}, prefix)
}

// ActiveRestores are the ids of restores that have not ended.
func ActiveRestores(ctx context.Context, c *rpc.Client, prefix string) ([]cobra.Completion, error) {
	return restoreIDs(ctx, c, rpc.RestoreQuery{ActiveOnly: true}, prefix)
}

func restoreIDs(ctx context.Context, c *rpc.Client, q rpc.RestoreQuery, prefix string) (list []cobra.Completion, err error) {
	found, err := c.ListRestores(ctx, q)
	named := map[string]bool{"": true}
	for _, r := range found.Restores {
		list = append(list, cobra.CompletionWithDesc(r.RestoreID, string(r.State)+" of "+human.Safe(r.VMName)+", "+human.ShortTime(r.CreatedAt)))
		if prefix != "" && !named[r.VMName] {
			named[r.VMName] = true
			list = append(list, cobra.CompletionWithDesc(r.VMName+"@"+reference.Latest, "the newest restore"))
		}
	}
	if prefix != "" {
		list = append(list, cobra.CompletionWithDesc(reference.Latest, "the newest restore of any VM"))
	}
	return list, err
}

// GroupIDs are the ids of the configured groups.
func GroupIDs(ctx context.Context, c *rpc.Client, _ string) (list []cobra.Completion, err error) {
	groups, err := c.ListGroups(ctx)
	for _, g := range groups.Groups {
		list = append(list, cobra.CompletionWithDesc(g.GroupID, human.Count(g.VMCount, "VM")))
	}
	return list, err
}

// ScheduleIDs are the ids of the configured schedules.
func ScheduleIDs(ctx context.Context, c *rpc.Client, _ string) (list []cobra.Completion, err error) {
	schedules, err := c.ListSchedules(ctx, rpc.ScheduleQuery{})
	for _, s := range schedules.Schedules {
		list = append(list, cobra.CompletionWithDesc(s.ScheduleID, s.Calendar))
	}
	return list, err
}

// RunIDs are the ids of the last runs.
func RunIDs(ctx context.Context, c *rpc.Client, _ string) ([]cobra.Completion, error) {
	return runIDs(ctx, c, rpc.RunQuery{})
}

// ActiveRuns are the ids of the runs in progress.
func ActiveRuns(ctx context.Context, c *rpc.Client, _ string) ([]cobra.Completion, error) {
	return runIDs(ctx, c, rpc.RunQuery{Active: true})
}

func runIDs(ctx context.Context, c *rpc.Client, q rpc.RunQuery) (list []cobra.Completion, err error) {
	runs, err := c.ListRuns(ctx, q)
	for _, r := range runs.Runs {
		list = append(list, cobra.CompletionWithDesc(r.RunID, string(r.State)))
	}
	return list, err
}
