package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
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
		runs:      map[string]*run{},
	}
	for _, r := range o.Config.Repositories {
		a.repositories = append(a.repositories, repository.New(r.ID, r.Path, exporter.owner()))
	}
	a.work, a.stopWork = context.WithCancelCause(context.Background())
	a.hard, a.stopHard = context.WithCancel(context.Background())
	return a, nil
}

// Open takes up the backups that were active when the agent last ended, and begins to watch the units. It must be
// called once, before any other method.
func (a *Agent) Open(context.Context) error {
	events := a.units.Watch(a.work, unitPrefix)
	a.wait.Go(func() { a.watch(events) })
	return a.recover()
}

// Close ends the agent and leaves the exports of running backups to themselves: they are taken up by the next one. A
// backup that has not reached the SNA yet is undone. Close returns when all is at rest or when ctx ends.
func (a *Agent) Close(ctx context.Context) error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.stopWork(errStopping)
	stop := context.AfterFunc(ctx, a.stopHard)
	defer stop()
	a.wait.Wait()
	a.stopHard()
	return ctx.Err()
}

// launch starts the goroutine that moves an active backup along.
func (a *Agent) launch(b backup.Backup) (*run, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, errorf(ShuttingDown, "the agent is stopping: ask again when it is back")
	}
	r := newRun(a, b)
	a.runs[b.ID] = r
	a.wait.Go(func() {
		r.live()
		a.mu.Lock()
		delete(a.runs, b.ID)
		for _, other := range a.runs {
			other.nudge() // there may be room now for one that waits
		}
		a.mu.Unlock()
	})
	return r, nil
}

// run returns the run of an active backup, or nil.
func (a *Agent) run(id string) *run {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.runs[id]
}

// watch passes on what systemd says about the units. Runs look for themselves: an event only says that it is time.
func (a *Agent) watch(events <-chan units.Event) {
	for e := range events {
		if e.Kind == units.EventResync {
			a.wait.Go(a.sweep)
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

// change is the one place where the record of a backup changes, and with it its state: a transaction, then the log line.
func (a *Agent) change(id string, f func(*backup.Backup) error) (backup.Backup, error) {
	before, after, err := a.store.Update(id, time.Now(), f)
	if err != nil {
		return after, fmt.Errorf("backup %s: its record cannot be changed: %w", id, err)
	}
	a.logTransition(before, after)
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
)
