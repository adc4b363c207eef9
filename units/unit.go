package units

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/units/pair"
)

// Unit is the state of a pair at one moment.
type Unit struct {
	Name string // without suffix

	// Service half. ActiveState is empty when it is not loaded.
	ActiveState string // active, activating, deactivating, inactive, failed
	SubState    string // running, exited, failed, dead, ...
	// Result is "success", or how it failed: exit-code, signal, core-dump, timeout, ...
	Result         string
	InvocationID   string // 32 hexadecimal digits, one for each life; empty when never started
	MainPID        int    // 0 when no process runs
	ExecMainCode   int    // how the main process ended: 0 not yet, 1 exited, 2 killed, 3 dumped (CLD_ codes)
	ExecMainStatus int    // its exit status, or the number of the signal
	StartStatus    int    // the exit status of the command that forked it; 200 and up are systemd.exec(5)'s
	StartedAt      time.Time
	ExitedAt       time.Time // zero while it runs
	Slice          string
	Argv           []string // the command line of the exporter

	// Socket half. SocketState is its ActiveState, empty when it is not loaded.
	SocketState   string
	SocketResult  string
	ListenAddress string
	// ReceivedBytes and SentBytes are what passed the socket on the wire since it began to listen,
	// with IP headers; Accounted tells whether the service manager counts (a user's does not).
	ReceivedBytes, SentBytes uint64
	Accounted                bool
}

// Running reports whether the service's main process is alive.
func (u Unit) Running() bool { return u.MainPID != 0 }

// Ended reports whether the service has run and its main process is gone. Of one that ended before systemd had found its main process
// ExecMainCode stays 0; RemainAfterExit= keeps it as "exited", which tells that nothing of it runs. It is not Clean.
func (u Unit) Ended() bool {
	return u.InvocationID != "" && u.MainPID == 0 && (u.ExecMainCode != 0 || u.SubState == "exited")
}

// Clean reports whether the main process ended of its own accord with status 0. That is more than
// Result "success": systemd counts a death by SIGTERM as success, and a process so killed has
// written nothing back.
func (u Unit) Clean() bool {
	return u.Ended() && u.Result == "success" && u.ExecMainCode == exited && u.ExecMainStatus == 0
}

// exited is CLD_EXITED of waitid(2).
const exited = 1

// Get returns the state of a pair, or ErrNotFound.
func (m *Manager) Get(ctx context.Context, name string) (Unit, error) {
	if err := pair.CheckName(name); err != nil {
		return Unit{}, err
	}
	var u Unit
	err := m.retry(ctx, func(l *link) (err error) {
		u, err = l.get(ctx, name)
		return err
	})
	return u, err
}

// List returns the pairs whose name begins with prefix, in order of their names. A pair of which
// only one half is loaded is listed too.
func (m *Manager) List(ctx context.Context, prefix string) ([]Unit, error) {
	if err := pair.CheckName(prefix); err != nil {
		return nil, err
	}
	var list []Unit
	err := m.retry(ctx, func(l *link) (err error) {
		list, err = l.list(ctx, prefix, false)
		return err
	})
	return list, err
}

// ListBrief is List for whoever only wants to know whether the pairs are what they were: of a service that runs it tells name, states,
// InvocationID, MainPID and Slice, at a tenth of what it costs to read all. Any other pair is read whole.
func (m *Manager) ListBrief(ctx context.Context, prefix string) (list []Unit, err error) {
	if err := pair.CheckName(prefix); err != nil {
		return nil, err
	}
	err = m.retry(ctx, func(l *link) (err error) {
		list, err = l.list(ctx, prefix, true)
		return err
	})
	return list, err
}

// halves are what a list says of the two halves of a pair; one that is not loaded has no name.
type halves struct{ service, socket systemd.UnitStatus }

func (l *link) list(ctx context.Context, prefix string, brief bool) ([]Unit, error) {
	// The characters of a name have no meaning in a glob pattern (checkName).
	loaded, err := l.match(ctx, prefix+"*"+pair.ServiceSuffix, prefix+"*"+pair.SocketSuffix)
	if err != nil {
		return nil, fmt.Errorf("list units %s*: %w", prefix, err)
	}
	found := map[string]halves{}
	for _, status := range loaded {
		h := found[pairName(status.Name)]
		if strings.HasSuffix(status.Name, pair.ServiceSuffix) {
			h.service = status
		} else {
			h.socket = status
		}
		found[pairName(status.Name)] = h
	}
	names := slices.Sorted(maps.Keys(found))
	list := make([]Unit, len(names))
	var group errgroup.Group
	group.SetLimit(8) // pipelining hides the bus's round trips
	for i, name := range names {
		group.Go(func() (err error) {
			list[i], err = l.readListed(ctx, name, found[name], brief)
			if errors.Is(err, ErrNotFound) { // removed meanwhile
				list[i], err = Unit{}, nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(u Unit) bool { return u.Name == "" }), nil
}

// readListed reads one pair of a list, or only what tells its life if that is enough and it runs.
func (l *link) readListed(ctx context.Context, name string, h halves, brief bool) (Unit, error) {
	if !brief || h.service.SubState != "running" {
		return l.read(ctx, name, h.service.Name != "", h.socket.Name != "")
	}
	var slice any
	var u Unit
	var group errgroup.Group
	group.Go(func() (err error) {
		slice, err = l.property(ctx, name+pair.ServiceSuffix, "Service", "Slice")
		return err
	})
	group.Go(func() (err error) {
		u, err = l.readLife(ctx, name)
		return err
	})
	if err := group.Wait(); err != nil || u.ActiveState != "" { // it ended meanwhile, and all of it was read
		return u, err
	}
	u.ActiveState, u.SubState, u.SocketState, u.Slice = h.service.ActiveState, h.service.SubState, h.socket.ActiveState, text(slice)
	return u, nil
}

// match lists the units that are loaded and match any of the patterns.
func (l *link) match(ctx context.Context, patterns ...string) (list []systemd.UnitStatus, err error) {
	err = l.call(ctx, func() (err error) {
		list, err = l.ListUnitsByPatternsContext(ctx, nil, patterns)
		return err
	})
	return slices.DeleteFunc(list, func(u systemd.UnitStatus) bool { return !isLoaded(u.LoadState) }), err
}

// properties reads all properties of a unit.
func (l *link) properties(ctx context.Context, unit string) (p map[string]any, err error) {
	err = l.call(ctx, func() (err error) {
		p, err = l.GetAllPropertiesContext(ctx, unit)
		return err
	})
	return p, err
}

// property reads one property of a unit; kind is what it is a property of: Unit, Service or Socket.
func (l *link) property(ctx context.Context, unit, kind, name string) (value any, err error) {
	err = l.call(ctx, func() error {
		p, err := l.GetUnitTypePropertyContext(ctx, unit, kind, name)
		if err == nil {
			value = p.Value.Value()
		}
		return err
	})
	return value, err
}

// isLoaded: a unit whose file has become unreadable (error, bad-setting) may still have a process.
func isLoaded(state string) bool { return state != "" && state != "not-found" }

func pairName(unit string) string {
	return strings.TrimSuffix(strings.TrimSuffix(unit, pair.ServiceSuffix), pair.SocketSuffix)
}

// get reads the halves that are loaded. It asks for their names first: reading the properties of an
// unknown unit makes systemd load it, and send signals about it, which would make us read it again.
func (l *link) get(ctx context.Context, name string) (Unit, error) {
	service, socket, err := l.halves(ctx, name)
	if err != nil {
		return Unit{Name: name}, err
	}
	return l.read(ctx, name, service, socket)
}

// halves tells which are loaded, and ErrNotFound when neither is.
func (l *link) halves(ctx context.Context, name string) (service, socket bool, err error) {
	halves, err := l.match(ctx, name+pair.ServiceSuffix, name+pair.SocketSuffix)
	if err != nil {
		return false, false, fmt.Errorf("unit %s: look up: %w", name, err)
	}
	for _, half := range halves {
		service = service || half.Name == name+pair.ServiceSuffix
		socket = socket || half.Name == name+pair.SocketSuffix
	}
	if !service && !socket {
		return false, false, fmt.Errorf("unit %s: %w", name, ErrNotFound)
	}
	return service, socket, nil
}

// read reads the given halves, both at a time.
func (l *link) read(ctx context.Context, name string, service, socket bool) (Unit, error) {
	u := Unit{Name: name}
	var ofService, ofSocket map[string]any
	var group errgroup.Group
	if service {
		group.Go(func() (err error) {
			ofService, err = l.properties(ctx, name+pair.ServiceSuffix)
			return err
		})
	}
	if socket {
		group.Go(func() (err error) {
			ofSocket, err = l.properties(ctx, name+pair.SocketSuffix)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return u, fmt.Errorf("unit %s: read: %w", name, err)
	}
	// What was collected meanwhile reads as not-found.
	if isLoaded(text(ofService["LoadState"])) {
		u.readService(ofService)
	}
	if isLoaded(text(ofSocket["LoadState"])) {
		u.readSocket(ofSocket)
	}
	if u.ActiveState == "" && u.SocketState == "" {
		return u, fmt.Errorf("unit %s: %w", name, ErrNotFound)
	}
	return u, nil
}

// readLife reads what tells one life of a service from another. A unit has some three hundred properties, which cost the service
// manager, the bus and this process a millisecond each, so a start asks for the two that matter.
func (l *link) readLife(ctx context.Context, name string) (Unit, error) {
	u := Unit{Name: name}
	var id, pid any
	var group errgroup.Group
	group.Go(func() (err error) {
		id, err = l.property(ctx, name+pair.ServiceSuffix, "Unit", "InvocationID")
		return err
	})
	group.Go(func() (err error) {
		pid, err = l.property(ctx, name+pair.ServiceSuffix, "Service", "MainPID")
		return err
	})
	if err := group.Wait(); err != nil {
		return u, fmt.Errorf("unit %s: read: %w", name, err)
	}
	u.readIdentity(id, pid)
	if !u.Running() || u.InvocationID == "" { // it has ended already, or is gone: how, tell all of them
		return l.read(ctx, name, true, true)
	}
	return u, nil
}

func (u *Unit) readIdentity(invocation, mainPID any) {
	if id, ok := invocation.([]byte); ok && len(id) > 0 {
		u.InvocationID = hex.EncodeToString(id)
	}
	pid, _ := mainPID.(uint32)
	u.MainPID = int(pid)
}

func (u *Unit) readService(p map[string]any) {
	u.ActiveState, u.SubState = text(p["ActiveState"]), text(p["SubState"])
	u.Result, u.Slice = text(p["Result"]), text(p["Slice"])
	u.readIdentity(p["InvocationID"], p["MainPID"])
	code, _ := p["ExecMainCode"].(int32)
	status, _ := p["ExecMainStatus"].(int32)
	u.ExecMainCode, u.ExecMainStatus = int(code), int(status)
	// The last of the ten fields of a command line, see org.freedesktop.systemd1(5).
	if commands, ok := p["ExecStart"].([][]any); ok && len(commands) > 0 && len(commands[0]) == 10 {
		status, _ := commands[0][9].(int32)
		u.StartStatus = int(status)
		u.Argv, _ = commands[0][1].([]string)
	}
	u.StartedAt = timestamp(p["ExecMainStartTimestamp"])
	u.ExitedAt = timestamp(p["ExecMainExitTimestamp"])
}

func (u *Unit) readSocket(p map[string]any) {
	u.SocketState, u.SocketResult = text(p["ActiveState"]), text(p["Result"])
	if listen, ok := p["Listen"].([][]any); ok && len(listen) > 0 && len(listen[0]) == 2 {
		u.ListenAddress = text(listen[0][1])
	}
	in, _ := p["IPIngressBytes"].(uint64)
	out, _ := p["IPEgressBytes"].(uint64)
	const unset = ^uint64(0) // not counted
	if in != unset && out != unset {
		u.ReceivedBytes, u.SentBytes, u.Accounted = in, out, true
	}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// timestamp reads microseconds since 1970.
func timestamp(v any) time.Time {
	usec, _ := v.(uint64)
	if usec == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(usec))
}
