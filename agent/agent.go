package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/units"
)

// Options are the parts an Agent is made of. The caller opens them before and closes them after.
type Options struct {
	Config  *config.Config
	Store   *store.Store
	Units   *units.Manager
	SNA     *sna.Client
	Logger  *slog.Logger // slog.Default() if nil
	Version string
	Metrics prometheus.Registerer // nil: there are none
}

// An Agent backs up VMs. Its methods may be called from any goroutine.
type Agent struct {
	config       *config.Config
	store        *store.Store
	units        *units.Manager
	sna          *sna.Client
	log          *slog.Logger
	version      string
	startedAt    time.Time
	tools        nbd.Tools
	ports        nbd.PortRange
	repositories []*repository.Repository
	foreign      foreignPorts
	watchers     watchers
	metrics      *metrics
	probes       singleflight.Group // of Ready

	// Runs work under work, whose end tells them to stop where they stand; what must be brought to its end all the
	// same, as undoing, works under hard, which ends when Close has waited long enough.
	work     context.Context
	stopWork context.CancelCauseFunc
	hard     context.Context
	stopHard context.CancelFunc

	admission sync.Mutex // held while it is found out whether there is room, and the room is taken

	mu     sync.Mutex
	closed bool
	runs   map[string]*run // by backup id: one for every active backup
	wait   sync.WaitGroup
}

// errStopping is the cause by which runs learn that the agent stops. It undoes nothing that is under way at the SNA.
var errStopping = errors.New("the agent is stopping")

// New makes an agent, which does nothing until Run is called.
func New(o Options) (*Agent, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	exporter, err := lookupExporter(o.Config.Agent.ExporterUser, o.Config.Agent.ExporterGroup)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		config:    o.Config,
		store:     o.Store,
		units:     o.Units,
		sna:       o.SNA,
		log:       o.Logger,
		version:   o.Version,
		startedAt: time.Now(),
		tools:     nbd.Tools{QemuImg: o.Config.NBD.QemuImg, Credential: exporter.credential()},
		ports:     nbd.PortRange{First: o.Config.NBD.FirstPort, Last: o.Config.NBD.LastPort},
		metrics:   newMetrics(),
		runs:      map[string]*run{},
	}
	for _, r := range o.Config.Repositories {
		a.repositories = append(a.repositories, repository.New(r.ID, r.Path, exporter.owner()))
	}
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
func (a *Agent) Open(context.Context) error {
	events := a.units.Watch(a.work, unitPrefix)
	if err := errors.Join(a.spawn(func() { a.watch(events) }), a.spawn(a.sweepImages)); err != nil {
		return err
	}
	return a.recover()
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
func (a *Agent) launch(b backup.Backup) (*run, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, errClosed()
	}
	r := newRun(a, b)
	a.runs[b.ID] = r
	a.wait.Go(func() {
		r.live()
		a.retire(b.ID)
	})
	return r, nil
}

// retire forgets a run that has ended, and tells the others: there may be room now for one that waits.
func (a *Agent) retire(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.runs, id)
	for _, other := range a.runs {
		other.nudge()
	}
}

// run returns the run of an active backup, or nil.
func (a *Agent) run(id string) *run {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.runs[id]
}

// settledRun is run for a backup that may be on record since this very moment, and whose run is about to be launched.
func (a *Agent) settledRun(id string) *run {
	if r := a.run(id); r != nil {
		return r
	}
	a.admission.Lock()
	defer a.admission.Unlock()
	return a.run(id)
}

// watch passes on what systemd says about the units. Runs look for themselves: an event only says that it is time.
func (a *Agent) watch(events <-chan units.Event) {
	for e := range events {
		if e.Kind == units.EventResync {
			_ = a.spawn(a.sweep) // refused when the agent stops: the next one sweeps
		}
		a.mu.Lock()
		for _, r := range a.runs {
			if e.Kind == units.EventResync || r.owns(e.Name) {
				r.lookAtUnits()
			}
		}
		a.mu.Unlock()
	}
}

// change is the one place where the record of a backup changes, and with it its state: a transaction, then the log line,
// the metric and the event.
func (a *Agent) change(id string, f func(*backup.Backup) error) (backup.Backup, error) {
	start := time.Now()
	before, after, err := a.store.Update(id, start, func(b *backup.Backup) error {
		if err := f(b); err != nil {
			return err
		}
		failpoint.Reach("committing " + string(b.State))
		return nil
	})
	if err != nil {
		return after, fmt.Errorf("backup %s: its record cannot be changed: %w", id, err)
	}
	failpoint.Reach("committed " + string(after.State))
	a.metrics.transaction(start)
	a.logTransition(before, after)
	a.metrics.transition(before, after)
	a.watchers.tell(Event{Kind: EventState, Backup: after})
	return after, nil
}

// advance brings a backup to a state; f, which may be nil, changes more of its record in the same transaction.
func (a *Agent) advance(id string, to backup.State, f func(*backup.Backup)) (backup.Backup, error) {
	return a.change(id, func(b *backup.Backup) error {
		if f != nil {
			f(b)
		}
		b.State = to
		return nil
	})
}

func (a *Agent) logTransition(before, after backup.Backup) {
	if before.State == after.State {
		return
	}
	attrs := []any{
		logBackupID, after.ID, logVM, after.VM.Name,
		logFrom, string(before.State), logTo, string(after.State),
	}
	level := slog.LevelInfo
	if f := after.Failure; f != nil && before.Failure == nil {
		level = slog.LevelError
		attrs = append(attrs, logReason, f.Reason, logError, f.Message, logJournal, f.Journal)
	}
	a.log.Log(context.Background(), level, "backup "+string(after.State), attrs...)
}

// Keys of the log's attributes.
const (
	logBackupID  = "backup_id"
	logVM        = "vm_name"
	logFrom      = "from"
	logTo        = "to"
	logReason    = "reason"
	logError     = "error"
	logJournal   = "journal"
	logUnit      = "unit"
	logPort      = "port"
	logHolder    = "holder"
	logDisk      = "disk_id"
	logDirectory = "directory"
	logSource    = "source"
)
