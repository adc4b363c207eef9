// Package agent puts the agent together from its services, opens and closes them, and answers questions about the whole: status, exports,
// metrics, events. It makes no backup itself, and it does not know the RPC.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/admission"
	"github.com/sendense/backup-agent/agent/audit"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/callbacks"
	"github.com/sendense/backup-agent/agent/catalog"
	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/client"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/hook"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/merge"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/prune"
	"github.com/sendense/backup-agent/agent/publish"
	"github.com/sendense/backup-agent/agent/reconcile"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/run"
	"github.com/sendense/backup-agent/agent/schedule"
	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/agent/verify"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
	"github.com/sendense/backup-agent/units/spawn"
)

// Options are the parts of an Agent. The caller opens them before New and closes them after Close.
type Options struct {
	Config   *config.Config
	Store    *store.Store
	Units    *units.Manager
	SNA      *sna.Client
	Logger   *slog.Logger // nil: slog.Default()
	Version  string
	Metrics  prometheus.Registerer // nil: no metrics
	LogLevel *slog.LevelVar        // of Logger, for SetLogLevel; nil: SetLogLevel changes nothing

	// ConnectRepository starts the process of a repository; nil: the agent does the work itself.
	ConnectRepository storage.Connect
	// Stuck says since when a repository does not answer; nil: as its own probes say.
	Stuck func(repositoryID string) (since time.Time, stuck bool)

	AcceptZeroes *atomic.Bool // sna.accept_write_zeroes for new exports; nil: as in Config
}

// An Agent backs up VMs. It consists of services, each for one kind of work. The Agent itself only opens and closes them, and answers
// questions about the whole. Its methods may be called from any goroutine.
type Agent struct {
	Records       *ledger.Ledger
	Inventory     *inventory.Inventory
	Repositories  *repositories.Set
	Exports       *export.Manager
	Ports         *export.Ports
	Gate          *admission.Gate
	Chains        *chain.Chains
	Verifications *verify.Service
	Merges        *merge.Service
	Backups       *backup.Service
	Clients       *callbacks.Service
	Restores      *restore.Service
	Policies      *prune.Service
	Catalog       *catalog.Watcher
	Runs          *run.Service
	Schedules     *schedule.Service
	Groups        Groups
	Audit         *audit.Recorder // records the requests; nil: nothing is recorded. It is set before Open

	config              *config.Config
	store               *store.Store
	units               *units.Manager
	log                 *slog.Logger
	level               *slog.LevelVar
	version             string
	startedAt           time.Time
	metrics             *metrics.Counters
	watchers            *events.Watchers
	jobs                *job.Group
	unitsChanged        job.Signal
	repositoriesChanged job.Signal // one has become stuck, or answers again
	publisher           *publish.Service
	reconciler          *reconcile.Reconciler
}

// New returns an agent. The agent does nothing until Open is called. New fails if the exporters' user does not exist, or if the metrics
// are already registered.
func New(o Options) (*Agent, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.LogLevel == nil {
		o.LogLevel = new(slog.LevelVar)
	}
	if o.AcceptZeroes == nil {
		o.AcceptZeroes = new(atomic.Bool)
		o.AcceptZeroes.Store(o.Config.SNA.AcceptWriteZeroes)
	}
	account, err := repositories.ExporterAccount(o.Config)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		config: o.Config, store: o.Store, units: o.Units, log: o.Logger, level: o.LogLevel, version: o.Version, startedAt: time.Now(),
		metrics: metrics.New(), watchers: new(events.Watchers), jobs: job.NewGroup(), unitsChanged: job.NewSignal(), repositoriesChanged: job.NewSignal(),
	}
	a.wire(o, account, program)
	if o.Metrics != nil {
		if err := a.register(o.Metrics); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// wire makes the services, from the lowest to the highest. Each uses those made before it.
func (a *Agent) wire(o Options, account repositories.Account, program string) {
	cfg, db, log, boot := o.Config, o.Store, o.Logger, bootID()
	a.Records = ledger.New(ledger.Parts{Store: db, Log: log, Metrics: a.metrics, Watchers: a.watchers})
	a.Repositories = repositories.New(repositories.Parts{
		Config: cfg, Log: log, Connect: o.ConnectRepository, OnChange: a.repositoriesChanged.Raise, Observe: a.metrics.RepositoryOperation,
	}, account)
	a.Ports = &export.Ports{Range: nbd.PortRange{First: cfg.NBD.FirstPort, Last: cfg.NBD.LastPort}}
	a.Exports = export.New(export.Parts{Config: cfg, Ports: a.Ports, Units: o.Units, Log: log, AcceptZeroes: o.AcceptZeroes})
	a.Gate = &admission.Gate{Store: db, Stuck: o.Stuck}
	if a.Gate.Stuck == nil {
		a.Gate.Stuck = a.Repositories.StuckSince
	}
	admissions := admission.New(admission.Parts{Config: cfg, Store: db, Ports: a.Ports, Gate: a.Gate})
	a.Inventory = inventory.New(inventory.Parts{Config: cfg, Store: db, SNA: o.SNA, Log: log, Metrics: a.metrics})
	a.Chains = chain.New(chain.Parts{Store: db, Repositories: a.Repositories, Exports: a.Exports, Log: log})
	questions := client.New(client.Parts{Store: db, Log: log})
	a.Verifications = verify.New(verify.Parts{
		Config: cfg, Store: db, Records: a.Records, Repositories: a.Repositories, Gate: a.Gate, Chains: a.Chains, Jobs: a.jobs, Log: log,
		Metrics: a.metrics, Watchers: a.watchers,
	})
	a.Merges = merge.New(merge.Parts{
		Config: cfg, Store: db, Records: a.Records, Repositories: a.Repositories, Gate: a.Gate, Chains: a.Chains, Verifications: a.Verifications,
		Jobs: a.jobs, Log: log, Metrics: a.metrics,
	})
	a.publisher = publish.New(publish.Parts{
		Config: cfg, Store: db, Records: a.Records, Repositories: a.Repositories, Exports: a.Exports, Chains: a.Chains, Questions: questions,
		Jobs: a.jobs, Units: o.Units, Tools: qemu.Tools{QemuImg: cfg.NBD.QemuImg, Credential: account.Credential}, Log: log, Metrics: a.metrics, Version: o.Version, BootID: boot,
	})
	a.Backups = backup.New(backup.Parts{
		Config: cfg, Store: db, Records: a.Records, Repositories: a.Repositories, Exports: a.Exports, Ports: a.Ports, Admission: admissions,
		Inventory: a.Inventory, Chains: a.Chains, Verifications: a.Verifications, Merges: a.Merges, Publish: a.publisher, SNA: o.SNA,
		Units: o.Units, Jobs: a.jobs, Log: log, Metrics: a.metrics, Watchers: a.watchers, UnitsChanged: a.unitsChanged, BootID: boot,
	})
	a.Clients = callbacks.New(callbacks.Parts{
		Config: cfg, Store: db, Records: a.Records, Ports: a.Ports, Questions: questions, Backups: a.Backups, Log: log,
	})
	a.Restores = restore.New(restore.Parts{
		Config: cfg, Store: db, Records: a.Records, Repositories: a.Repositories, Exports: a.Exports, Ports: a.Ports, Admission: admissions,
		Chains: a.Chains, Verifications: a.Verifications, Merges: a.Merges, Backups: a.Backups, Units: o.Units, Jobs: a.jobs, Log: log,
		Watchers: a.watchers, Program: program,
	})
	a.Catalog = catalog.New(catalog.Parts{
		Store: db, Repositories: a.Repositories, Gate: a.Gate, Jobs: a.jobs, Log: log, Metrics: a.metrics, Watchers: a.watchers,
	})
	a.Policies = prune.New(prune.Parts{
		Config: cfg, Store: db, Records: a.Records, Repositories: a.Repositories, Gate: a.Gate, Inventory: a.Inventory,
		Verifications: a.Verifications, Merges: a.Merges, Catalog: a.Catalog, Jobs: a.jobs, Log: log, Metrics: a.metrics, Watchers: a.watchers,
	})
	a.Runs = run.New(run.Parts{
		Config: cfg, Store: db, Inventory: a.Inventory, Backups: a.Backups, Hooks: &hook.Service{Config: cfg, Units: o.Units, Log: log, Hide: cfg.Private()},
		Jobs: a.jobs, Log: log, Metrics: a.metrics,
	})
	a.Groups = Groups{a}
	a.Schedules = schedule.New(schedule.Parts{Config: cfg, Store: db, Runs: a.Runs, Jobs: a.jobs, Log: log})
	a.reconciler = reconcile.New(reconcile.Parts{
		Config: cfg, Store: db, Records: a.Records, Repositories: a.Repositories, Admission: admissions, Backups: a.Backups, Restores: a.Restores,
		Merges: a.Merges, Policies: a.Policies, Units: o.Units, Jobs: a.jobs, Log: log, Metrics: a.metrics, Watchers: a.watchers,
		UnitsChanged: a.unitsChanged, RepositoriesChanged: a.repositoriesChanged, BootID: boot,
	})
}

// Open adopts the backups and restores that were active when the agent last stopped, and starts to watch the units. Call it once, before
// any other method.
func (a *Agent) Open(ctx context.Context) error {
	if err := qemu.Confined(); err != nil {
		a.log.Warn("qemu-img is confined only by the rights of its user: "+
			"use a kernel with Landlock and seccomp, and a unit that allows their system calls", logkey.Error, err)
	}
	if err := spawn.Supported(); err != nil {
		a.log.Warn("a repository that hangs can block the start of programs for all repositories: "+
			"use Linux 5.9 or later, and a unit that allows the system calls", logkey.Error, err)
	}
	a.Repositories.LogUnusableKeys()
	for _, r := range a.Repositories.All {
		if err := a.jobs.Spawn(func() { r.Watch(a.jobs.Work) }); err != nil {
			return err
		}
	}
	if err := a.reconciler.AdoptLost(ctx); err != nil {
		return err
	}
	for _, r := range a.Repositories.All {
		if err := a.jobs.Spawn(func() { a.Repositories.DetectIO(a.jobs.Work, r) }); err != nil {
			return err
		}
	}
	a.Records.LogFuturePoints()
	stream := a.units.Watch(a.jobs.Work, export.UnitPrefix)
	if err := a.reconciler.TakeUp(); err != nil {
		return err
	}
	if err := a.Restores.Recover(); err != nil {
		return err
	}
	for _, r := range a.Repositories.All {
		for _, watch := range []func(){
			func() { a.Catalog.Watch(r) }, func() { a.Verifications.RunSchedule(r.ID) }, func() { a.Policies.RunDaily(r.ID) },
		} {
			if err := a.jobs.Spawn(watch); err != nil {
				return err
			}
		}
	}
	if err := a.watchSchedules(); err != nil {
		return err
	}
	a.publisher.Opened.Store(new(time.Now()))
	return errors.Join(a.jobs.Spawn(func() { a.watchUnits(stream) }), a.jobs.Spawn(a.reconciler.WatchUnits), a.jobs.Spawn(a.reconciler.WatchDirectories))
}

// watchSchedules goes on with the runs that were in progress, and begins the next ones.
func (a *Agent) watchSchedules() error {
	if err := a.Runs.TakeUp(); err != nil {
		return err
	}
	for _, s := range a.config.Schedules {
		if err := a.jobs.Spawn(func() { a.Schedules.Watch(s) }); err != nil {
			return err
		}
	}
	return a.jobs.Spawn(a.Schedules.ForgetOld)
}

// Close stops the agent. Exports of running backups stay: the next agent adopts them. A backup that has not yet reached the SNA is
// undone. Close returns nil when all goroutines have ended, or the error of ctx when ctx ends first. In that case something still hangs,
// and the caller must not close the parts.
func (a *Agent) Close(ctx context.Context) error {
	return errors.Join(a.jobs.Close(ctx), a.Repositories.Close())
}

// watchUnits passes the events of systemd on. An event only wakes the job that owns the unit; the job reads the unit itself. Units
// without a job, such as those of a backup that has ended, are left to the reconciler.
func (a *Agent) watchUnits(stream <-chan units.Event) {
	for e := range stream {
		owned := a.Backups.UnitEvent(e)
		owned = a.Restores.UnitEvent(e) || owned
		if e.Kind == units.EventResync || !owned && e.Kind != units.EventRemoved {
			a.unitsChanged.Raise()
		}
	}
}
