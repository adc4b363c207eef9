// Package callbacks answers what SBC asks and records what it reports: change ids, disks that are complete, its own figures. It moves no
// backup along: it writes a fact into the record, and wakes the job of the backup. Package client decides whose question it is.
package callbacks

import (
	"log/slog"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/client"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/store"
)

// Parts are what a Service works with.
type Parts struct {
	Config    *config.Config
	Store     *store.Store
	Records   *ledger.Ledger
	Ports     *export.Ports
	Questions *client.Questions
	Backups   *backup.Service
	Log       *slog.Logger
}

// A Service serves SBC. Its methods may be called from any goroutine.
type Service struct{ Parts }

// New returns a Service.
func New(p Parts) *Service { return &Service{p} }
