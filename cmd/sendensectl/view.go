package main

import (
	"io"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// A view shows what becomes of backups.
type view interface {
	show(e rpc.Event)
	say(line string) // something about the watching itself
	close()
}

// newView shows progress beside what a command prints: on a terminal as bars, elsewhere in lines.
func newView(w io.Writer, every time.Duration) view {
	if canDraw(w) {
		return newBars(w)
	}
	return newLines(w, every)
}
