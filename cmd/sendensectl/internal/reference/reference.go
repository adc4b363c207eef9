// Package reference finds the backup or the restore that a person means: by its id, by the beginning of its id, or as the newest one
// of a VM (VM@latest) or of a day (VM@2026-11-30). It only asks the agent; it contains no command.
package reference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/rpc"
)

// Help explains the references, for the help of commands.
const Help = `BACKUP is the id of a backup, the beginning of an id that no other backup has, or one of these:

  latest         the newest restore point
  VM@latest      the newest restore point of a VM
  VM@2026-11-30  the newest restore point of a VM that began on that day, in the local time zone`

// HelpActive is Help for the commands about backups in progress.
const HelpActive = Help + `

For this command, latest is the newest backup in progress, if there is one.`

// HelpRestore is Help for restores.
const HelpRestore = `RESTORE is the id of a restore, the beginning of an id that no other restore has, or one of these:

  latest         the newest restore
  VM@latest      the newest restore of a VM
  VM@2026-11-30  the newest restore of a VM that began on that day, in the local time zone`

// Latest is the word for the newest one.
const Latest = "latest"

// DayFormat is the form of a day in a reference.
const DayFormat = time.DateOnly

// clockTolerance is how far in the future a restore point may be dated: as in the agent.
const clockTolerance = 5 * time.Minute

// mostCandidates is how many ids an error about an ambiguous reference lists.
const mostCandidates = 10

// A selector is a reference that is no id: the newest one of a VM, or of all VMs if it names none, and of a day, if it names one.
type selector struct {
	vm  string
	day time.Time // its start; zero is any day
}

// parse reads latest, VM@latest and VM@2026-11-30. Ids contain no @, and names of VMs can: the last @ counts.
func parse(word string) (s selector, is bool, err error) {
	at := strings.LastIndexByte(word, '@')
	if at < 0 {
		return s, word == Latest, nil
	}
	var when string
	if s.vm, when = word[:at], word[at+1:]; when == Latest && s.vm != "" {
		return s, true, nil
	}
	if s.day, err = time.ParseInLocation(DayFormat, when, time.Local); err != nil || s.vm == "" {
		return s, true, fmt.Errorf("%q: want an id, or VM@latest, or VM@2026-11-30", word)
	}
	return s, true, nil
}

// String is the selector in words: `VM "pgtest1", on 2026-11-30`.
func (s selector) String() string {
	text := "any VM"
	if s.vm != "" {
		text = fmt.Sprintf("VM %q", s.vm)
	}
	if !s.day.IsZero() {
		text += " that began on " + s.day.Format(DayFormat+" (MST)")
	}
	return text
}

// nextDay is the start of the day after the selector's.
func (s selector) nextDay() time.Time { return s.day.AddDate(0, 0, 1) }

// Backup is the id of the backup that a word means. If active is set, latest prefers a backup in progress.
func Backup(ctx context.Context, c *rpc.Client, word string, active bool) (string, error) {
	s, is, err := parse(word)
	switch {
	case err != nil:
		return "", err
	case !is:
		return backupByPrefix(ctx, c, word)
	}
	if active && s.day.IsZero() {
		if id, err := newestActive(ctx, c, s.vm); err != nil || id != "" {
			return id, err
		}
	}
	return newestPoint(ctx, c, s)
}

// newestPoint is the newest restore point that a selector selects.
func newestPoint(ctx context.Context, c *rpc.Client, s selector) (string, error) {
	q := rpc.BackupQuery{VMName: s.vm, State: rpc.Completed, Limit: 1, Until: time.Now().Add(clockTolerance)}
	if !s.day.IsZero() {
		q.Since, q.Until = s.day, s.nextDay()
	}
	page, err := c.ListBackups(ctx, q)
	if err != nil {
		return "", err
	}
	if len(page.Backups) == 0 {
		return "", &exit.Error{
			Code: exit.Failed, Err: fmt.Errorf("there is no restore point of %s", s), Hint: "to see what there is: sendensectl backup list --state completed",
		}
	}
	return page.Backups[0].BackupID, nil
}

// ActiveStates are the states of a backup in progress.
var ActiveStates = []rpc.BackupState{rpc.Queued, rpc.Preparing, rpc.Exporting, rpc.Calling, rpc.Unresolved, rpc.Running, rpc.Finishing, rpc.Undoing}

// Active are the backups in progress, the oldest first.
func Active(ctx context.Context, c *rpc.Client) ([]rpc.Backup, error) {
	list := []rpc.Backup{}
	for _, state := range ActiveStates {
		page, err := c.ListBackups(ctx, rpc.BackupQuery{State: state, Limit: 1000})
		if err != nil {
			return nil, err
		}
		list = append(list, page.Backups...)
	}
	slices.SortStableFunc(list, func(a, b rpc.Backup) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return list, nil
}

// newestActive is the newest backup in progress of a VM, or of all VMs; "" if there is none.
func newestActive(ctx context.Context, c *rpc.Client, vm string) (id string, err error) {
	list, err := Active(ctx, c)
	for _, b := range list {
		if vm == "" || b.VMName == vm {
			id = b.BackupID
		}
	}
	return id, err
}

// backupByPrefix is the only id that begins with a word, or is it. Any other error than an unknown id is left to the command: it asks
// the agent with the word as it is.
func backupByPrefix(ctx context.Context, c *rpc.Client, word string) (string, error) {
	if word == "" {
		return "", errors.New("the id of the backup is empty")
	}
	_, unknown := c.GetBackup(ctx, word)
	var refused *rpc.Error
	if !errors.As(unknown, &refused) || refused.Data.Reason != rpc.ReasonBackupNotFound {
		return word, nil
	}
	page, err := c.ListBackups(ctx, rpc.BackupQuery{IDPrefix: word, Limit: mostCandidates + 1})
	if err != nil || len(page.Backups) == 0 {
		return word, nil // to delete a deleted backup again is no error
	}
	if len(page.Backups) == 1 {
		return page.Backups[0].BackupID, nil
	}
	var lines []string
	for _, b := range page.Backups {
		lines = append(lines, fmt.Sprintf("%s  %s %s of %s, %s", b.BackupID, b.State, b.BackupType, human.Safe(b.VMName), human.ShortTime(b.CreatedAt)))
	}
	return "", ambiguous(word, "backups", lines)
}

// Restore is the id of the restore that a word means.
func Restore(ctx context.Context, c *rpc.Client, word string) (string, error) {
	s, is, err := parse(word)
	if err != nil {
		return "", err
	}
	if word == "" {
		return "", errors.New("the id of the restore is empty")
	}
	found, err := c.ListRestores(ctx, rpc.RestoreQuery{})
	if err != nil {
		return word, nil // the command asks again, and reports the error
	}
	list := slices.DeleteFunc(found.Restores, func(r rpc.Restore) bool {
		return is && !s.selects(r) || !is && !strings.HasPrefix(r.RestoreID, word)
	})
	slices.SortStableFunc(list, func(a, b rpc.Restore) int { return b.CreatedAt.Compare(a.CreatedAt) })
	switch {
	case !is && (len(list) == 0 || slices.ContainsFunc(list, func(r rpc.Restore) bool { return r.RestoreID == word })):
		return word, nil // exact, or older than the list: the command asks for it
	case len(list) == 0:
		return "", &exit.Error{Code: exit.Failed, Err: fmt.Errorf("there is no restore of %s", s), Hint: "to see what there is: sendensectl restore list"}
	case is || len(list) == 1:
		return list[0].RestoreID, nil
	}
	var lines []string
	for _, r := range list {
		lines = append(lines, fmt.Sprintf("%s  %s of %s, %s", r.RestoreID, r.State, human.Safe(r.VMName), human.ShortTime(r.CreatedAt)))
	}
	return "", ambiguous(word, "restores", lines)
}

func (s selector) selects(r rpc.Restore) bool {
	return (s.vm == "" || s.vm == r.VMName) && (s.day.IsZero() || !r.CreatedAt.Before(s.day) && r.CreatedAt.Before(s.nextDay()))
}

// ambiguous is the error for a word that begins several ids. It lists them.
func ambiguous(word, what string, lines []string) error {
	if len(lines) > mostCandidates {
		lines = append(lines[:mostCandidates:mostCandidates], "and more")
	}
	return &exit.Error{
		Code: exit.Failed, Err: fmt.Errorf("%q is ambiguous: the ids of several %s begin with it", word, what),
		Lines: lines, Hint: "give more of the id",
	}
}
