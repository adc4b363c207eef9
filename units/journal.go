package units

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/sendense/backup-agent/units/pair"
	"github.com/sendense/backup-agent/units/spawn"
)

// Journal returns the last n lines, oldest first, that a pair's processes wrote, or that the service
// manager wrote about either half with priority warning or higher. It runs journalctl(1), after a
// request to the journal to store all messages received so far. A caller other than root sees only the
// lines of its own units; for a user with a UID below 1000 it needs the group systemd-journal.
func (m *Manager) Journal(ctx context.Context, name string, n int) ([]string, error) {
	if err := pair.CheckName(name); err != nil {
		return nil, err
	}
	// Best effort: only root may. The journal handles the request after all earlier messages.
	_ = spawn.Run(ctx, exec.Command("journalctl", "--sync"))
	args := []string{"--quiet", "--no-pager", "--output=cat", "--lines=" + strconv.Itoa(n)}
	out, err := spawn.Output(ctx, exec.Command("journalctl", append(args, m.journalMatch(name)...)...))
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("unit %s: read journal: %w", name, err)
	}
	text := strings.TrimRight(string(out), "\n")
	if text == "" {
		return nil, nil
	}
	return strings.Split(text, "\n"), nil
}

// journalMatch selects the lines, in the syntax of journalctl(1): "+" means or, as do two values of
// one field; two fields mean and.
func (m *Manager) journalMatch(name string) []string {
	of, about := "_SYSTEMD_UNIT=", "UNIT="
	if m.options.User {
		of, about = "_SYSTEMD_USER_UNIT=", "USER_UNIT="
	}
	match := []string{of + name + pair.ServiceSuffix}
	for _, half := range []string{name + pair.ServiceSuffix, name + pair.SocketSuffix} {
		match = append(match, "+", about+half)
		for priority := range 5 { // emergency to warning
			match = append(match, "PRIORITY="+strconv.Itoa(priority))
		}
	}
	return match
}
