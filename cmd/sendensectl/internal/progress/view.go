// Package progress shows how something comes along: on a terminal as bars, elsewhere in lines, or as JSON. It asks nobody: what it shows is
// told to it.
package progress

import (
	"io"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/rpc"
)

// A View shows what becomes of backups.
type View interface {
	Show(e rpc.Event)
	Say(line string) // something about the watching itself
	Close()
}

// New shows progress beside what a command prints: on a terminal as bars, elsewhere in lines.
func New(w io.Writer, every time.Duration) View {
	if terminal.CanDraw(w) {
		return NewBars(w)
	}
	return NewLines(w, every)
}
