package units

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
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

// Ended reports whether the service has run and its main process is gone.
func (u Unit) Ended() bool { return u.InvocationID != "" && u.MainPID == 0 && u.ExecMainCode != 0 }

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
	if err := checkName(name); err != nil {
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
	if err := checkName(prefix); err != nil {
		return nil, err
	}
	var list []Unit
	err := m.retry(ctx, func(l *link) (err error) {
		list, err = l.list(ctx, prefix)
		return err
	})
	return list, err
}

func (l *link) list(ctx context.Context, prefix string) ([]Unit, error) {
	// The characters of a name have no meaning in a glob pattern (checkName).
	loaded, err := l.ListUnitsByPatternsContext(ctx, nil, []string{prefix + "*" + serviceSuffix, prefix + "*" + socketSuffix})
	if err != nil {
		return nil, fmt.Errorf("list units %s*: %w", prefix, err)
	}
	names := map[string]bool{}
	for _, status := range loaded {
		if isLoaded(status.LoadState) {
			names[pairName(status.Name)] = true
		}
	}
	list := make([]Unit, 0, len(names))
	for name := range names {
		list = append(list, Unit{Name: name})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	var group errgroup.Group
	group.SetLimit(8) // pipelining hides the bus's round trips
	for i := range list {
		group.Go(func() (err error) {
			list[i], err = l.get(ctx, list[i].Name)
			if errors.Is(err, ErrNotFound) { // removed meanwhile
				list[i], err = Unit{}, nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	kept := list[:0]
	for _, u := range list {
		if u.Name != "" {
			kept = append(kept, u)
		}
	}
	return kept, nil
}

// isLoaded: a unit whose file has become unreadable (error, bad-setting) may still have a process.
func isLoaded(state string) bool { return state != "" && state != "not-found" }

func pairName(unit string) string {
	return strings.TrimSuffix(strings.TrimSuffix(unit, serviceSuffix), socketSuffix)
}

// get reads the halves that are loaded. It asks for their names first: reading the properties of an
// unknown unit makes systemd load it, and send signals about it, which would make us read it again.
func (l *link) get(ctx context.Context, name string) (Unit, error) {
	halves, err := l.ListUnitsByPatternsContext(ctx, nil, []string{name + serviceSuffix, name + socketSuffix})
	if err != nil {
		return Unit{Name: name}, fmt.Errorf("unit %s: look up: %w", name, err)
	}
	var service, socket bool
	for _, half := range halves {
		loaded := isLoaded(half.LoadState)
		service = service || loaded && half.Name == name+serviceSuffix
		socket = socket || loaded && half.Name == name+socketSuffix
	}
	if !service && !socket {
		return Unit{Name: name}, fmt.Errorf("unit %s: %w", name, ErrNotFound)
	}
	return l.read(ctx, name, service, socket)
}

// read reads the given halves, both at a time.
func (l *link) read(ctx context.Context, name string, service, socket bool) (Unit, error) {
	u := Unit{Name: name}
	var ofService, ofSocket map[string]any
	var group errgroup.Group
	if service {
		group.Go(func() (err error) {
			ofService, err = l.GetAllPropertiesContext(ctx, name+serviceSuffix)
			return err
		})
	}
	if socket {
		group.Go(func() (err error) {
			ofSocket, err = l.GetAllPropertiesContext(ctx, name+socketSuffix)
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

func (u *Unit) readService(p map[string]any) {
	u.ActiveState, u.SubState = text(p["ActiveState"]), text(p["SubState"])
	u.Result, u.Slice = text(p["Result"]), text(p["Slice"])
	if id, ok := p["InvocationID"].([]byte); ok && len(id) > 0 {
		u.InvocationID = hex.EncodeToString(id)
	}
	pid, _ := p["MainPID"].(uint32)
	code, _ := p["ExecMainCode"].(int32)
	status, _ := p["ExecMainStatus"].(int32)
	u.MainPID, u.ExecMainCode, u.ExecMainStatus = int(pid), int(code), int(status)
	// The last of the ten fields of a command line, see org.freedesktop.systemd1(5).
	if commands, ok := p["ExecStart"].([][]any); ok && len(commands) > 0 && len(commands[0]) == 10 {
		status, _ := commands[0][9].(int32)
		u.StartStatus = int(status)
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
