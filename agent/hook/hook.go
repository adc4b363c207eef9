// Package hook runs the configured commands before and after scheduled runs, and before and after their VMs. Each runs in a sandboxed unit
// of its own, with what it is about as JSON on standard input. What a failure means is the caller's business.
package hook

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/units"
	"github.com/sendense/backup-agent/units/pair"
)

// UnitPrefix begins the names of the units. It is not that of the exporters: the reconciler leaves them alone.
const UnitPrefix = "sendense-hook-"

// An Event is what a command reads. A field that does not apply is absent.
type Event struct {
	Hook       string `json:"hook"`
	When       string `json:"when"` // config.BeforeRun, AfterRun, BeforeVM or AfterVM
	ScheduleID string `json:"schedule_id"`
	RunID      string `json:"run_id"`

	VMName     string `json:"vm_name,omitempty"`
	Try        int    `json:"try,omitempty"`         // of the VM in this run, from 1
	BackupType string `json:"backup_type,omitempty"` // asked for
	BackupID   string `json:"backup_id,omitempty"`   // after a try that has a backup

	State   string  `json:"state,omitempty"`   // how the run or the try ended: as in run.get
	Reason  string  `json:"reason,omitempty"`  // why the try failed
	Message string  `json:"message,omitempty"` // the same for a person
	Counts  *Counts `json:"counts,omitempty"`  // after a run
}

// Counts are the VMs of a run.
type Counts struct {
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
	Skipped   int `json:"skipped"`
	Canceled  int `json:"canceled"`
}

// Service runs hooks. Its methods may be called from any goroutine.
type Service struct {
	Config *config.Config
	Units  *units.Manager
	Log    *slog.Logger
	Hide   []string // paths that no command sees: the state of the agent, the repositories
}

// Run runs the hooks of a point one after another, in the order of the configuration. It stops at the first one whose failure counts, and
// returns that failure, of reason HookFailed. Failures of the others are warnings. If ctx ends, the command is stopped, and the error is the
// cause of ctx.
func (s *Service) Run(ctx context.Context, e Event) (warnings []string, err error) {
	for _, h := range s.Config.HooksOf(e.When, e.ScheduleID, e.VMName) {
		e.Hook = h.ID
		failure := s.runOne(ctx, h, e)
		if ctx.Err() != nil {
			return warnings, context.Cause(ctx)
		}
		if failure == nil {
			continue
		}
		about := "hook " + h.ID + " (" + h.When + ")"
		if e.VMName != "" {
			about += " of VM " + e.VMName
		}
		s.Log.Warn("a hook failed", logkey.Hook, h.ID, logkey.RunID, e.RunID, logkey.VM, e.VMName, logkey.Error, failure)
		if h.Fails() {
			return warnings, fault.New(fault.HookFailed, "%s: %w", about, failure).
				WithHint("look at 'journalctl -u \"" + UnitPrefix + "*\"', correct the command, or set on_failure = \"continue\"")
		}
		warnings = append(warnings, fmt.Sprintf("%s: %v", about, failure))
	}
	return warnings, nil
}

// Stop stops the commands that another agent has left behind when it was killed.
func (s *Service) Stop(ctx context.Context) error {
	if len(s.Config.Hooks) == 0 {
		return nil
	}
	return s.Units.StopCommands(ctx, s.prefix())
}

// prefix begins the names of the units of this agent. Another agent of the host has another state directory.
func (s *Service) prefix() string {
	sum := sha256.Sum256([]byte(s.Config.Agent.StateDirectory))
	return fmt.Sprintf("%s%x-", UnitPrefix, sum[:4])
}

// runOne runs a command. Each time the unit has a name of its own: that of a unit which is being killed is not free yet.
func (s *Service) runOne(ctx context.Context, h config.Hook, e Event) error {
	input, err := json.Marshal(e)
	if err != nil {
		return err
	}
	files, err := h.CredentialFiles()
	if err != nil {
		return err
	}
	var credentials []pair.Credential
	for name, file := range files {
		credentials = append(credentials, pair.Credential{ID: name, Source: file})
	}
	return s.Units.RunOnce(ctx, pair.Command{
		Name: s.prefix() + rand.Text(), Description: "Hook " + h.ID + " of sendense-agent", Argv: h.Command, User: h.Account,
		Input: append(input, '\n'), Limit: h.Limit(), Credentials: credentials, Hide: s.Hide,
	})
}
