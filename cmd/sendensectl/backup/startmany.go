package backup

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/progress"
	"github.com/sendense/backup-agent/rpc"
)

// startsAtOnce is how many starts of one command the agent works on. A start returns when the SNA has answered; the others wait here.
const startsAtOnce = 8

// The outcomes of a start of several backups. A backup that has ended has the name of its state instead.
const (
	startedVM    = rpc.StatusStarted
	notStartedVM = "not started"
	inProgressVM = "in progress" // the VM had an active backup already
)

// A startedMany is the result of a start of several backups.
type startedMany struct {
	RequestID string        `json:"request_id"` // the command with --request-id and this id starts no backup twice
	VMs       []startResult `json:"vms"`
	Failed    int           `json:"failed"` // how many VMs have no backup in progress, and none that is completed
}

// A startResult is the result for one VM.
type startResult struct {
	VMName     string         `json:"vm_name"`
	Outcome    string         `json:"outcome"`
	BackupID   string         `json:"backup_id,omitempty"`
	BackupType rpc.BackupType `json:"backup_type,omitempty"`
	Failure    *rpc.Failure   `json:"failure,omitempty"`
}

// failed reports whether the VM has no backup that is completed or may become so.
func (r startResult) failed() bool { return r.Failure != nil && r.Outcome != inProgressVM }

// matchVMs returns the names of the VMs on record that match one of the patterns, sorted. In a pattern, * and ? also stand for a slash.
func matchVMs(ctx context.Context, c *rpc.Client, patterns []string) (names []string, err error) {
	list, err := command.AllVMs(ctx, c)
	if err != nil {
		return nil, err
	}
	hit := map[string]bool{}
	for _, vm := range list {
		for _, p := range patterns {
			if matches(p, vm.VMName) {
				hit[p] = true
				names = append(names, vm.VMName)
			}
		}
	}
	for _, p := range patterns {
		if !hit[p] {
			return nil, &exit.Error{Code: exit.Failed, Err: fmt.Errorf("no VM on record matches %q; no backup was started", p), Hint: "to see all VMs: sendensectl vm list"}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func matches(pattern, name string) bool {
	flat := strings.NewReplacer("/", "\x00")
	ok, _ := path.Match(flat.Replace(pattern), flat.Replace(name)) // checkPattern has checked it
	return ok
}

func checkPattern(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
		return fmt.Errorf("--vm %q: want the name of a VM, or a pattern such as 'web-*'; put a backslash before a [ of a name", pattern)
	}
	return nil
}

// requestOf is the request id for one VM. A repeated command has the same ones.
func requestOf(id, vm string) string {
	return fmt.Sprintf("%s-%x", id, sha256.Sum256([]byte(vm)))[:len(id)+17]
}

// startMany starts a backup of each VM, and returns an error if one failed.
func startMany(ctx context.Context, a *command.App, c *rpc.Client, r rpc.StartRequest, names []string, wait bool) error {
	result := startedMany{RequestID: r.RequestID, VMs: make([]startResult, len(names))}
	if r.RequestID == "" {
		result.RequestID = "sendensectl-" + rand.Text()
	}
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(startsAtOnce, len(names)) {
		workers.Go(func() {
			for i := range next {
				one := r
				one.VMName, one.RequestID = names[i], requestOf(result.RequestID, names[i])
				result.VMs[i] = startOne(ctx, a, c, one)
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	workers.Wait()
	if wait && ctx.Err() == nil {
		waitMany(ctx, a, c, result.VMs)
	}
	for _, vm := range result.VMs {
		if vm.failed() {
			result.Failed++
		}
	}
	if err := a.Show(result, func(p *output.Printer) { printMany(p, result) }); err != nil {
		return err
	}
	return result.err(ctx)
}

// startOne starts the backup of one VM. If the agent stops answering, the request is repeated: its id makes that safe.
func startOne(ctx context.Context, a *command.App, c *rpc.Client, r rpc.StartRequest) startResult {
	started, err := c.StartBackup(ctx, r)
	if err != nil && ctx.Err() == nil && command.WentAway(err) {
		again, away := a.Reconnect(ctx)
		if away == nil {
			defer again.Close()
			started, err = again.StartBackup(ctx, r)
		}
	}
	if err != nil {
		return notStarted(r.VMName, err)
	}
	s := startResult{VMName: r.VMName, Outcome: started.Status, BackupID: started.BackupID, BackupType: started.BackupType}
	if s.Outcome == string(rpc.Failed) || s.Outcome == string(rpc.Cancelled) { // of an earlier call with the same request id
		s.Failure = &rpc.Failure{Message: "the backup of the first request with this id is " + s.Outcome, Hint: "for another attempt use a new request_id"}
	}
	return s
}

func notStarted(vm string, err error) startResult {
	s := startResult{VMName: vm, Outcome: notStartedVM, Failure: &rpc.Failure{Reason: rpc.ReasonInternal, Message: err.Error()}}
	var refused *rpc.Error
	var lost *rpc.UnreachableError
	switch {
	case errors.As(err, &refused):
		d := refused.Data
		s.BackupID = d.BackupID
		s.Failure = &rpc.Failure{Reason: d.Reason, Message: refused.Message, Hint: d.Hint, DiskID: d.DiskID, Unit: d.Unit, Journal: d.Journal}
		if d.Reason == rpc.ReasonBackupInProgress {
			s.Outcome = inProgressVM
		}
	case errors.As(err, &lost):
		s.Failure.Reason, s.Failure.Hint = "", lost.Hint()
	}
	return s
}

// waitMany waits until each backup that was started has ended.
func waitMany(ctx context.Context, a *command.App, c *rpc.Client, list []startResult) {
	for i := range list {
		s := &list[i]
		if s.BackupID == "" || s.failed() {
			continue
		}
		b, err := follow(ctx, a, c, rpc.WatchRequest{BackupID: s.BackupID}, progress.New(a.Stderr, a.ProgressEvery))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.Failure = &rpc.Failure{Message: err.Error()}
			continue
		}
		s.Outcome, s.BackupType, s.Failure = string(b.State), b.BackupType, b.Failure
		if b.State != rpc.Completed && s.Failure == nil {
			s.Failure = &rpc.Failure{Message: ended(b)}
		}
	}
}

func printMany(p *output.Printer, r startedMany) {
	var rows [][]string
	for _, s := range r.VMs {
		why := ""
		if s.failed() {
			why = string(s.Failure.Reason)
		}
		rows = append(rows, []string{s.VMName, s.Outcome, string(s.BackupType), s.BackupID, why})
	}
	p.Table([]output.Column{{Title: "vm", Most: 2 * output.NameWidth}, {Title: "outcome"}, {Title: "type", Rank: 2}, {Title: "backup", Rank: 1}, {Title: "reason"}}, rows)
	for _, s := range r.VMs {
		if s.failed() {
			p.Line("")
			p.Prose("%s: %s", s.VMName, s.Failure.Message)
			if s.Failure.Hint != "" {
				p.Prose("  %s", hint.InCommands(s.Failure.Hint))
			}
		}
	}
}

// err is the error that gives the exit code.
func (r startedMany) err(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return &exit.Error{
			Code: exit.Failed, Err: errors.New("interrupted; the backups that were started continue"),
			Hint: "to start the others: the same command with --request-id " + r.RequestID,
		}
	case r.Failed > 0:
		return fmt.Errorf("%d of %d VMs failed; the reasons are above", r.Failed, len(r.VMs))
	}
	return nil
}
