// Package doctor checks whether this machine can back up, and says for every finding what to do.
//
// [Run] needs no running daemon, and may run beside a daemon that makes backups: what it makes has names of its own, which the daemon
// ignores, and is removed before it returns. [Live] is what a running agent can say of itself. It repairs nothing.
//
// A check is a function that returns findings. No check ends the others, and each has a time limit.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/catalog"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// Options say what to check.
type Options struct {
	ConfigPath string
	Version    string // of this program
	// Daemon asks the daemon on a socket. If it cannot, the error wraps fs.ErrPermission, fs.ErrNotExist or ECONNREFUSED
	// where one of them is the reason.
	Daemon func(ctx context.Context, socket string) (Daemon, error)
}

// Daemon is the answer of a running daemon.
type Daemon struct {
	Version       string
	ActiveBackups int
	Ports         []uint16                 // of its exports
	Catalogs      map[string]catalog.State // by repository: how records and repository agree
	FuturePoints  int                      // restore points dated in the future
	FutureIDs     []string                 // some of them
	HeldPrunes    []HeldPrune
}

// HeldPrune is a daily prune that waits for a person.
type HeldPrune struct {
	VM, Repository  string
	Removed, Points int // restore points that it would remove, of how many
}

// checkTimeout limits one check. What hangs, as a dead network file system does, is a finding too.
const checkTimeout = 30 * time.Second

// trialTimeout limits all checks of one repository, including the trial of its data path.
const trialTimeout = 2 * time.Minute

// A check examines one thing.
type check struct {
	name, object string
	timeout      time.Duration // 0: checkTimeout
	cleanup      time.Duration // extra time to clean up after the limit
	look         func(ctx context.Context) []Finding
}

// A host is the common state of the checks.
type host struct {
	options Options
	config  *config.Config

	configErr  error // config holds what could be read, and defaults
	account    repositories.Account
	accountErr error
	bus        *units.Manager // nil when busErr is set
	busErr     error
	daemon     Daemon
	daemonErr  error
	exports    func(ctx context.Context) ([]uint16, error) // ports of the daemon's exports now
	askDaemon  func(ctx context.Context) (Daemon, error)   // what the daemon knows about restore points
	catalog    func(repository string) catalog.State       // nil if no daemon answers
	live       *repositories.Set                           // of the daemon that does the checks; nil: this is another process
}

// repo returns a repository: the daemon's own, or one that is used in this process.
func (h *host) repo(r config.Repository) *storage.Repository {
	if h.live != nil {
		if repo, err := h.live.Find(r.ID); err == nil {
			return repo
		}
	}
	return storage.New(storage.Options{Spec: storage.Spec{
		ID: r.ID, Path: r.Path, Owner: h.account.Owner, QemuImg: h.config.NBD.QemuImg, Credential: h.account.Credential,
	}})
}

// tools run qemu-img on images of the repositories, in this process.
func (h *host) tools(key qemu.Secret) qemu.Tools {
	t := qemu.Tools{QemuImg: h.config.NBD.QemuImg, Credential: h.account.Credential, Key: key}
	for _, r := range h.config.Repositories {
		t.Roots = append(t.Roots, r.Path)
	}
	return t
}

// Run does every check and returns the findings.
func Run(ctx context.Context, o Options) Report {
	h := &host{options: o}
	h.config, h.configErr = config.Salvage(o.ConfigPath)
	h.account, h.accountErr = repositories.ExporterAccount(h.config)
	asking, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	h.bus, h.busErr = units.Open(asking, units.Options{User: h.config.Agent.Bus == config.BusUser, Slice: h.config.Agent.Slice})
	if h.bus != nil {
		defer h.bus.Close() //nolint:errcheck // it closes a connection
	}
	h.daemon, h.daemonErr = o.Daemon(asking, h.config.Agent.Socket)
	h.exports = func(context.Context) ([]uint16, error) { return h.daemon.Ports, h.daemonErr }
	h.askDaemon = func(context.Context) (Daemon, error) { return h.daemon, h.daemonErr }
	if h.daemonErr == nil {
		h.catalog = func(id string) catalog.State { return h.daemon.Catalogs[id] }
	}
	return newReport(o.Version, runAll(ctx, h.checks()))
}

func (h *host) checks() []check {
	list := []check{
		{name: "config", object: h.options.ConfigPath, look: h.configuration},
		{name: "exporter-user", object: h.config.Agent.ExporterUser, look: h.exporterUser},
		{name: "qemu-img", object: h.config.NBD.QemuImg, look: h.qemuImg},
		{name: "qemu-nbd", object: h.config.NBD.QemuNBD, look: h.qemuNBD},
		{name: "features", object: h.config.NBD.QemuNBD, look: h.features},
		{name: "guestfish", object: h.config.Restore.Guestfish, look: h.guestfish},
		{name: "bus", object: h.config.Agent.Bus, look: h.serviceManager},
		{name: "daemon", object: h.config.Agent.Socket, look: h.daemonState},
		{name: "state-directory", object: h.config.Agent.StateDirectory, look: h.stateDirectory},
		{name: "database", object: h.databasePath(), look: h.database},
		{name: "ports", object: h.portRange().String(), look: h.ports},
		{name: "listeners", look: h.listeners},
		{name: "dates", look: h.dates},
		{name: "prune", look: h.heldPrunes},
		{name: "sna", object: h.config.SNA.URL, look: h.sna},
		{name: "write-zeroes", object: h.config.SNA.URL, look: h.writeZeroes},
		{name: "credentials", look: h.credentials},
		{name: "schedules", look: func(ctx context.Context) []Finding { return schedules(ctx, h.config) }},
		{name: "hooks", look: func(context.Context) []Finding { return hooks(h.config) }},
		{name: "audit", object: auditPath(h.config), look: func(context.Context) []Finding { return auditLog(h.config, h.daemonErr == nil) }},
		{name: "apart", look: h.apart},
	}
	return append(append(list, h.recordsChecks()...), h.repositoryChecks(h.repository)...)
}

func (h *host) repositoryChecks(look func(context.Context, config.Repository) []Finding) []check {
	var list []check
	for _, r := range h.config.Repositories {
		list = append(list, check{
			name: "repository", object: r.ID, timeout: trialTimeout, cleanup: checkTimeout + 5*time.Second,
			look: func(ctx context.Context) []Finding { return look(ctx, r) },
		})
	}
	return list
}

// runAll does the checks in parallel and returns their findings in the order of the checks.
func runAll(ctx context.Context, checks []check) []Finding { return runTogether(ctx, checks, 8) }

// runTogether does so many checks at a time.
func runTogether(ctx context.Context, checks []check, limit int) []Finding {
	found := make([][]Finding, len(checks))
	var group errgroup.Group
	group.SetLimit(limit)
	for i, c := range checks {
		group.Go(func() error {
			found[i] = c.run(ctx)
			return nil
		})
	}
	_ = group.Wait() // none of them fails
	var all []Finding
	for _, list := range found {
		all = append(all, list...)
	}
	return all
}

// run does one check, and gives up after its time limit: a call into a dead file system may never return.
func (c check) run(ctx context.Context) []Finding {
	limit := c.timeout
	if limit == 0 {
		limit = checkTimeout
	}
	late := fmt.Errorf("does not answer within %s", limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	answer := make(chan []Finding, 1)
	go func() { answer <- c.look(ctx) }()
	select {
	case found := <-answer:
		return found
	case <-ctx.Done():
	}
	select { // a check that follows the context cleans up, and says more
	case found := <-answer:
		return found
	case <-time.After(c.cleanup):
	}
	if errors.Is(context.Cause(ctx), late) {
		return one(c.name, c.object).error(late.Error(), "check whether its disk, network file system or server hangs")
	}
	return one(c.name, c.object).skip("was interrupted", "")
}
