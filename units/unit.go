package units

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/units/pair"
)

// Unit is the state of a pair at one moment.
type Unit struct {
	Name string // without suffix

	// Service half. ActiveState is empty if it is not loaded.
	ActiveState string // active, activating, deactivating, inactive, failed
	SubState    string // running, exited, failed, dead, ...
	// Result is "success", or how it failed: exit-code, signal, core-dump, timeout, ...
	Result         string
	InvocationID   string // 32 hexadecimal digits, new for each start; empty if never started
	MainPID        int    // 0 if no process runs, and also if systemd does not know which process is the main one: see Running
	ExecMainCode   int    // how the main process ended: 0 not yet, 1 exited, 2 killed, 3 dumped (CLD_ codes)
	ExecMainStatus int    // its exit status, or the number of the signal
	StartStatus    int    // the exit status of the command that forked it; 200 and up are systemd.exec(5)'s
	StartedAt      time.Time
	ExitedAt       time.Time // zero while it runs
	Slice          string
	Argv           []string // the command line

	// Socket half. SocketState is its ActiveState, empty if it is not loaded.
	SocketState   string
	SocketResult  string
	ListenAddress string
	// ReceivedBytes and SentBytes are the bytes on the wire since the socket began to listen, with IP
	// headers. They are valid if Accounted is set: a user's service manager does not count.
	ReceivedBytes, SentBytes uint64
	Accounted                bool
}

// Running reports whether the service has a process. It does not follow from MainPID: systemd guesses which process of a forking
// service is the main one, and if it sees none or two, MainPID stays 0 while the service runs (GuessMainPID= in systemd.service(5)).
// The states change when systemd has seen the end of the processes. Start returns no states, only a main process.
func (u Unit) Running() bool {
	switch u.SubState {
	case "":
		return u.MainPID != 0
	case "dead", "exited", "failed":
		return false
	}
	return true
}

// Ended reports whether the service has run and has no process any more. If systemd did not know its main process, ExecMainCode stays
// 0; then it is not Clean.
func (u Unit) Ended() bool {
	switch u.SubState {
	case "exited", "failed":
		return u.InvocationID != ""
	case "dead":
		return u.InvocationID != "" && u.ExecMainCode != 0
	}
	return false
}

// Clean reports whether the main process exited by itself with status 0. That is more than Result
// "success": systemd counts a death by SIGTERM as success, and a process that died so may not have
// written its data.
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

// properties reads all properties of a unit.
func (l *link) properties(ctx context.Context, unit string) (p map[string]any, err error) {
	err = l.call(ctx, func() (err error) {
		p, err = l.GetAllPropertiesContext(ctx, unit)
		return err
	})
	return p, err
}

// property reads one property of a unit; kind is the interface that has it: Unit, Service or Socket.
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

// isLoaded reports whether a unit exists for systemd. One whose file has become unreadable (error, bad-setting) may still have a
// process, so it counts.
func isLoaded(state string) bool { return state != "" && state != "not-found" }

func pairName(unit string) string {
	return strings.TrimSuffix(strings.TrimSuffix(unit, pair.ServiceSuffix), pair.SocketSuffix)
}

// get reads the halves that are loaded. It looks for their names first: to read the properties of an
// unknown unit makes systemd load it and send signals about it, and we would read it again.
func (l *link) get(ctx context.Context, name string) (Unit, error) {
	service, socket, err := l.halves(ctx, name)
	if err != nil {
		return Unit{Name: name}, err
	}
	return l.read(ctx, name, service, socket)
}

// halves reports which halves are loaded; if neither is, the error is ErrNotFound.
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

// read reads the given halves in parallel.
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
	// A unit that was unloaded meanwhile reads as not-found.
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

// readRun reads what tells one run of a service from another. A unit has some three hundred properties, which cost the service
// manager, the bus and this process a millisecond each, so a start reads only the two that matter.
func (l *link) readRun(ctx context.Context, name string) (Unit, error) {
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
	if u.MainPID == 0 || u.InvocationID == "" { // it has already ended, is unloaded, or has no main process: read all
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
	// The exit status is the last of ten fields, see org.freedesktop.systemd1(5).
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

// timestamp converts microseconds since 1970; 0 is the zero Time.
func timestamp(v any) time.Time {
	usec, _ := v.(uint64)
	if usec == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(usec))
}
