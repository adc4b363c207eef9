package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// Options are the parts an Agent is made of. The caller opens them before and closes them after.
type Options struct {
	Config   *config.Config
	Store    *store.Store
	Units    *units.Manager
	SNA      *sna.Client
	Logger   *slog.Logger // slog.Default() if nil
	Version  string
	Metrics  prometheus.Registerer // nil: there are none
	LogLevel *slog.LevelVar        // of Logger, for SetLogLevel; nil: one that nobody heeds

	AcceptZeroes *atomic.Bool // sna.accept_write_zeroes, of the exports that are made from now on; nil: as in Config
}

// An Agent backs up VMs. Its methods may be called from any goroutine.
type Agent struct {
	config       *config.Config
	store        *store.Store
	units        *units.Manager
	sna          *sna.Client
	log          *slog.Logger
	level        *slog.LevelVar
	acceptZeroes *atomic.Bool
	version      string
	startedAt    time.Time
	touched      func(id string) // is told that the record of a backup may have changed
	bootID       string          // of the host; "" if the kernel does not tell
	tools        qemu.Tools
	ports        nbd.PortRange
	repositories []*repository.Repository
	foreign      foreignPorts
	resting      resting
	clients      clients
	watchers     watchers
	metrics      *metrics
	opened       atomic.Pointer[time.Time] // when Open was done: from then on SBC is answered; nil before
	program      string                    // path of the agent's own executable, which reads files too
	probes       singleflight.Group        // of Ready
	deletions    singleflight.Group        // by backup id
	verifying    verifying
	catalogs     catalogs
	statuses     singleflight.Group // of repositories, by path
	verifyLimit  *rate.Limiter      // of what verifications read together, unless they are asked for another

	jobs *jobGroup

	admission    *semaphore.Weighted // of 1, held while it is found out whether there is room, and the room is taken
	reads        *semaphore.Weighted // of maxReads, one for each image that is being read whole
	unitsChanged signal              // units that no run cares for may have changed

	runs     *jobSet[*run]         // one for every active backup
	restores *jobSet[*restoration] // one for every active restore

	pruning      pruning
	merging      *semaphore.Weighted // of 1, held while a restore point is copied, and never while anybody is waited for
	rewrites     *jobSet[*rewriting] // one for every restore point that is being written anew
	rewriteTurns uint64              // that were given; used in claimRewrite alone
}

// New makes an agent, which does nothing until Open is called.
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
	exporter, err := lookupExporter(o.Config.Agent.ExporterUser, o.Config.Agent.ExporterGroup)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		program:   program,
		config:    o.Config,
		store:     o.Store,
		units:     o.Units,
		sna:       o.SNA,
		log:       o.Logger,
		level:     o.LogLevel,
		version:   o.Version,
		startedAt: time.Now(),
		tools:     ImageTools(o.Config, exporter.credential()),
		ports:     nbd.PortRange{First: o.Config.NBD.FirstPort, Last: o.Config.NBD.LastPort},
		bootID:    bootID(),
		metrics:   newMetrics(),
		jobs:      newJobGroup(),
		verifying: verifying{pins: map[string]int{}, jobs: map[verifyKey]*Verification{}},

		acceptZeroes: o.AcceptZeroes,

		verifyLimit: digest.Limit(o.Config.Verify.RateLimit.Bytes()),

		merging:   semaphore.NewWeighted(1),
		admission: semaphore.NewWeighted(1), unitsChanged: newSignal(), reads: semaphore.NewWeighted(maxReads),
	}
	a.runs, a.restores, a.rewrites = newJobSet[*run](a.jobs), newJobSet[*restoration](a.jobs), newJobSet[*rewriting](a.jobs)
	for _, r := range o.Config.Repositories {
		a.repositories = append(a.repositories, repository.New(r.ID, r.Path, exporter.owner()))
	}
	a.touched = func(id string) {
		if r := a.run(id); r != nil {
			r.changed.Store(true)
		}
	}
	repository.KeepApart(a.repositories, stateDirectory(o.Config))
	if o.Metrics != nil {
		if err := a.register(o.Metrics); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Open takes up the backups that were active when the agent last ended, and begins to watch the units. It must be
// called once, before any other method.
func (a *Agent) Open(ctx context.Context) error {
	if err := qemu.Confined(); err != nil {
		a.log.Warn("qemu-img is not confined as it should be, only by the rights of its user: "+
			"use a kernel with Landlock and seccomp, and a unit that allows their system calls", logError, err)
	}
	a.lookAtKeys()
	if err := a.adoptLost(ctx); err != nil {
		return err
	}
	for _, r := range a.repositories {
		go a.detectIO(r) // not waited for: one that hangs must not keep the agent from its end
	}
	a.lookAtDates()
	events := a.units.Watch(a.jobs.work, unitPrefix)
	if err := a.takeUpActive(); err != nil {
		return err
	}
	if err := a.recoverRestores(); err != nil {
		return err
	}
	for _, r := range a.repositories {
		if err := a.jobs.spawn(func() { a.watchCatalog(r) }); err != nil {
			return err
		}
	}
	a.opened.Store(new(time.Now()))
	return errors.Join(a.jobs.spawn(func() { a.watchUnits(events) }), a.jobs.spawn(a.reconcileUnits), a.jobs.spawn(a.reconcileDirectories),
		a.jobs.spawn(a.verifyBySchedule), a.jobs.spawn(a.pruneDaily))
}

// Close ends the agent and leaves the exports of running backups to themselves: they are taken up by the next one. A
// backup that has not reached the SNA yet is undone. Close returns when all is at rest, or with ctx's error when ctx ends
// before: then something still hangs, and the parts must not be closed under it.
func (a *Agent) Close(ctx context.Context) error {
	return a.jobs.close(ctx)
}

// launch starts the goroutine that moves an active backup along.
func (a *Agent) launch(b record.Backup) (*run, error) {
	r := newRun(a, b)
	return r, a.startRun(r)
}

func (a *Agent) startRun(r *run) error {
	return a.runs.launch(r.id, r, r.live, a.retired)
}

// retired tells the others that a backup has ended: there may be room now for one that waits.
func (a *Agent) retired() {
	a.nudgeRuns()
	a.unitsChanged.raise()
}

// nudgeRuns wakes every run: there may be room for one that waits in the queue.
func (a *Agent) nudgeRuns() {
	for _, r := range a.runs.list() {
		r.nudge()
	}
}

// run returns the run of an active backup, or nil.
func (a *Agent) run(id string) *run { return a.runs.get(id) }

// settledRun is run for a backup that may be on record since this very moment, and whose run is about to be launched.
func (a *Agent) settledRun(ctx context.Context, id string) (*run, error) {
	if r := a.run(id); r != nil {
		return r, nil
	}
	if err := a.admission.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer a.admission.Release(1)
	return a.run(id), nil
}

// watchUnits passes on what systemd says about the units. Runs look for themselves: an event only says that it is time. What
// comes of units that no run cares for, as of a backup that has ended, is for the reconciler.
func (a *Agent) watchUnits(events <-chan units.Event) {
	for e := range events {
		owned := a.tellRuns(e)
		owned = a.tellRestores(e) || owned
		if e.Kind == units.EventResync || !owned && e.Kind != units.EventRemoved {
			a.unitsChanged.raise()
		}
	}
}

// tellRuns wakes the runs that an event concerns, and says whether there is one.
func (a *Agent) tellRuns(e units.Event) (owned bool) {
	for _, r := range a.runs.list() {
		owned = r.unitEvent(e, unitsOf(r.id)) || owned
	}
	return owned
}

// tellRestores is tellRuns for restores.
func (a *Agent) tellRestores(e units.Event) (owned bool) {
	for _, x := range a.restores.list() {
		owned = x.unitEvent(e, unitsOf(x.id)) || owned
	}
	return owned
}

// change changes the record of a backup.
func (a *Agent) change(id string, f func(*record.Backup) error) (record.Backup, error) {
	b, err := a.changeRecord(id, f)
	if err != nil {
		return b, fmt.Errorf("backup %s: its record cannot be changed: %w", id, err)
	}
	return b, nil
}

// changeRecord is the one place where the record of a backup changes, and with it its state: a transaction, then the log line, the metric
// and the event.
func (a *Agent) changeRecord(id string, f func(*record.Backup) error, options ...store.Option) (record.Backup, error) {
	start := time.Now()
	before, after, err := a.store.Update(id, start, func(b *record.Backup) error {
		if err := f(b); err != nil {
			return err
		}
		failpoint.Reach("committing " + string(b.State))
		return nil
	}, options...)
	a.touched(id) // after an error too: the change may stand all the same
	if err != nil {
		return after, err
	}
	failpoint.Reach("committed " + string(after.State))
	a.metrics.transaction(start)
	a.logTransition(before, after)
	a.metrics.transition(before, after)
	a.watchers.tell(Event{Kind: EventState, Backup: after})
	return after, nil
}

// advance brings a backup to a state; f, which may be nil, changes more of its record in the same transaction.
func (a *Agent) advance(id string, to record.State, f func(*record.Backup)) (record.Backup, error) {
	return a.change(id, func(b *record.Backup) error {
		if f != nil {
			f(b)
		}
		b.State = to
		return nil
	})
}
