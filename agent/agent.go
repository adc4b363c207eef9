package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
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
	bootID       string // of the host; "" if the kernel does not tell
	tools        nbd.Tools
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

	// Runs work under work, whose end tells them to stop where they stand; what must be brought to its end all the
	// same, as undoing, works under hard, which ends when Close has waited long enough.
	work     context.Context
	stopWork context.CancelCauseFunc
	hard     context.Context
	stopHard context.CancelFunc

	admission    *semaphore.Weighted // of 1, held while it is found out whether there is room, and the room is taken
	reads        *semaphore.Weighted // of maxReads, one for each image that is being read whole
	unitsChanged chan struct{}       // buffered 1: units that no run cares for may have changed

	mu     sync.Mutex
	closed bool
	runs   map[string]*run // by backup id: one for every active backup
	wait   sync.WaitGroup

	restores map[string]*restoration // by restore id: one for every active restore; under mu

	pruning      pruning
	merging      *semaphore.Weighted   // of 1, held while a restore point is copied, and never while anybody is waited for
	rewrites     map[string]*rewriting // by backup id: one for every restore point that is being written anew; under mu
	rewriteTurns uint64                // that were given; under mu
}

// errStopping is the cause by which runs learn that the agent stops. It undoes nothing that is under way at the SNA.
var errStopping = errors.New("the agent is stopping")

// New makes an agent, which does nothing until Run is called.
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
		runs:      map[string]*run{},
		restores:  map[string]*restoration{},
		verifying: verifying{pins: map[string]int{}, jobs: map[verifyKey]*Verification{}},
		rewrites:  map[string]*rewriting{},

		acceptZeroes: o.AcceptZeroes,

		verifyLimit: digest.Limit(o.Config.Verify.RateLimit.Bytes()),

		merging:   semaphore.NewWeighted(1),
		admission: semaphore.NewWeighted(1), unitsChanged: make(chan struct{}, 1), reads: semaphore.NewWeighted(maxReads),
	}
	for _, r := range o.Config.Repositories {
		a.repositories = append(a.repositories, repository.New(r.ID, r.Path, exporter.owner()))
	}
	repository.Together(a.repositories, stateDirectory(o.Config))
	if o.Metrics != nil {
		if err := a.register(o.Metrics); err != nil {
			return nil, err
		}
	}
	a.work, a.stopWork = context.WithCancelCause(context.Background())
	a.hard, a.stopHard = context.WithCancel(context.Background())
	return a, nil
}

// Open takes up the backups that were active when the agent last ended, and begins to watch the units. It must be
// called once, before any other method.
func (a *Agent) Open(ctx context.Context) error {
	if err := nbd.Confined(); err != nil {
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
	events := a.units.Watch(a.work, unitPrefix)
	if err := a.takeUpActive(); err != nil {
		return err
	}
	if err := a.recoverRestores(); err != nil {
		return err
	}
	for _, r := range a.repositories {
		if err := a.spawn(func() { a.watchCatalog(r) }); err != nil {
			return err
		}
	}
	a.opened.Store(new(time.Now()))
	return errors.Join(a.spawn(func() { a.watch(events) }), a.spawn(a.reconcileUnits), a.spawn(a.reconcileDirectories),
		a.spawn(a.verifyBySchedule), a.spawn(a.pruneDaily))
}

// Close ends the agent and leaves the exports of running backups to themselves: they are taken up by the next one. A
// backup that has not reached the SNA yet is undone. Close returns when all is at rest, or with ctx's error when ctx ends
// before: then something still hangs, and the parts must not be closed under it.
func (a *Agent) Close(ctx context.Context) error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.stopWork(errStopping)
	rest := make(chan struct{})
	go func() {
		a.wait.Wait()
		close(rest)
	}()
	select {
	case <-rest:
		a.stopHard()
		return nil
	case <-ctx.Done():
	}
	a.stopHard()
	if pauseUntil(rest, time.Second) {
		return nil
	}
	return ctx.Err()
}

// pauseUntil waits for something to be done, but no longer than d.
func pauseUntil(done <-chan struct{}, d time.Duration) bool {
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// errClosed is what is said to whoever comes when the agent stops.
func errClosed() *Error {
	return errorf(ShuttingDown, "the agent is stopping: ask again when it is back")
}

// spawn runs f in a goroutine that Close waits for, unless Close has been called.
func (a *Agent) spawn(f func()) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errClosed()
	}
	a.wait.Go(f)
	return nil
}

// launch starts the goroutine that moves an active backup along.
func (a *Agent) launch(b record.Backup) (*run, error) {
	r := newRun(a, b)
	return r, a.startRun(r)
}

func (a *Agent) startRun(r *run) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errClosed()
	}
	a.runs[r.id] = r
	a.wait.Go(func() {
		r.live()
		a.retire(r.id)
	})
	return nil
}

// retire forgets a run that has ended, and tells the others: there may be room now for one that waits.
func (a *Agent) retire(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.runs, id)
	for _, other := range a.runs {
		other.nudge()
	}
	a.lookAtUnits()
}

// lookAtUnits has it looked whether there are units that serve nothing.
func (a *Agent) lookAtUnits() {
	select {
	case a.unitsChanged <- struct{}{}:
	default:
	}
}

// run returns the run of an active backup, or nil.
func (a *Agent) run(id string) *run {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.runs[id]
}

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

// watch passes on what systemd says about the units. Runs look for themselves: an event only says that it is time. What
// comes of units that no run cares for, as of a backup that has ended, is for the reconciler.
func (a *Agent) watch(events <-chan units.Event) {
	for e := range events {
		owned := a.tellRuns(e)
		if e.Kind == units.EventResync || !owned && e.Kind != units.EventRemoved {
			a.lookAtUnits()
		}
	}
}

// tellRuns wakes the runs and restorations that an event concerns, and says whether there is one. That a unit of theirs has started is no
// news to them.
func (a *Agent) tellRuns(e units.Event) (owned bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	tell := func(l *life) {
		if e.Kind != units.EventResync && !l.owns(e.Name) {
			return
		}
		owned = true
		if e.Kind != units.EventStarted {
			l.lookAtUnits()
		}
	}
	for _, r := range a.runs {
		tell(&r.life)
	}
	for _, r := range a.restores {
		tell(&r.life)
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
	if r := a.run(id); r != nil {
		r.changed.Store(true) // after an error too: the change may stand all the same
	}
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
