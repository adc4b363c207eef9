// Package progress shows progress: on a terminal as bars, elsewhere as lines, or as JSON. It does not ask the agent; the commands
// pass it events.
package progress

import (
	"io"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/rpc"
)

// A View shows the events of backups.
type View interface {
	Show(e rpc.Event)
	Say(line string) // about the connection to the agent
	Close()
}

// New makes a view beside the output of a command: on a terminal bars, elsewhere lines.
func New(w io.Writer, every time.Duration) View {
	if terminal.CanDraw(w) {
		return NewBars(w)
	}
	return NewLines(w, every)
}
