package units

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sendense/backup-agent/units/pair"
)

// ErrMainUnknown: systemd has taken no process, or a wrong one, for the main process of a pair. It would not see how the command ends.
var ErrMainUnknown = errors.New("systemd does not know its main process")

const (
	// startAttempts is how often Start tries to get a pair whose main process systemd knows.
	startAttempts = 5
	// settle is how long a process beside the main one may be the command's own parent, which is about to end.
	settle = time.Second
)

// checkMain proves that systemd has found the main process of a pair that has just started.
//
// When the first process of a forking service has exited, systemd looks for a process of the service whose parent is gone (unit.c,
// unit_search_main_pid). A daemon forks twice, and the process in the middle may be late on a busy machine: it closes the pipe to the
// first process before it has ended. Then systemd sees two such processes and chooses none, or it sees the one in the middle, whose
// exit with status 0 looks like the end of the service. Both times the daemon serves, and its end would not be seen.
func (l *link) checkMain(ctx context.Context, u Unit) error {
	for end := time.Now().Add(settle); ; {
		pids, err := l.processes(ctx, u.Name)
		switch {
		case err != nil:
			return fmt.Errorf("list its processes: %w", err)
		case len(pids) == 0: // it has ended
			return nil
		case !slices.Contains(pids, u.MainPID):
			return ErrMainUnknown
		case len(pids) == 1 || time.Now().After(end):
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// processes lists the processes of the service half of a pair.
func (l *link) processes(ctx context.Context, name string) (pids []int, err error) {
	var list []struct {
		Cgroup  string
		PID     uint32
		Command string
	}
	err = l.call(ctx, func() error {
		manager := l.socks[0].Object(managerName, managerPath)
		return manager.CallWithContext(ctx, managerInterface+".GetUnitProcesses", 0, name+pair.ServiceSuffix).Store(&list)
	})
	for _, p := range list {
		pids = append(pids, int(p.PID))
	}
	return pids, err
}
