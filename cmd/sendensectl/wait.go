package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

var (
	pollEvery   = 2 * time.Second  // between two looks at the backup
	tellEvery   = 30 * time.Second // between two lines where the state stays the same and nobody watches
	reconnectIn = 2 * time.Minute  // for an agent that is being restarted: the backup goes on without it
)

// waitFor waits until the backup has ended and shows it. Anything but completed is an error.
func (a *app) waitFor(ctx context.Context, c *rpc.Client, id string) error {
	f := &follower{app: a, client: c, progress: newProgress(a.stderr)}
	defer f.close()
	b, err := f.follow(ctx, id)
	f.progress.end()
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", id, err)
	}
	if err := a.show(b, func(p *printer) { printBackup(p, b) }); err != nil {
		return err
	}
	if b.State == rpc.Completed {
		return nil
	}
	failed := fmt.Sprintf("backup %s is %s", id, b.State)
	if b.Failure == nil {
		return errors.New(failed)
	}
	e := rpc.NewError(b.Failure.Reason, failed+": "+b.Failure.Message)
	e.Data.Hint = b.Failure.Hint
	e.Data.Unit, e.Data.Journal = b.Failure.Unit, b.Failure.Journal
	return e
}

// A follower looks at a backup again and again, and connects again when the agent went away.
type follower struct {
	app      *app
	client   *rpc.Client
	again    *rpc.Client // a connection of its own, after the first was lost
	progress *progress
}

func (f *follower) close() {
	if f.again != nil {
		f.again.Close()
	}
}

func (f *follower) follow(ctx context.Context, id string) (rpc.Backup, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	lastSeen := time.Now()
	for {
		b, err := f.client.GetBackup(ctx, id)
		var lost *rpc.UnreachableError
		switch {
		case err == nil:
			lastSeen = time.Now()
			f.progress.tell(b)
			if b.State.Ended() {
				return b, nil
			}
		case !errors.As(err, &lost), time.Since(lastSeen) > reconnectIn:
			return b, err
		default:
			f.reconnect(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return b, ctx.Err()
		}
	}
}

func (f *follower) reconnect(ctx context.Context) {
	c, err := rpc.Dial(ctx, f.app.socket)
	if err != nil {
		return
	}
	f.close()
	f.again, f.client = c, c
}

// progress tells how a backup comes along: on a terminal in one line that changes, elsewhere in lines that stay.
type progress struct {
	w        io.Writer
	terminal bool
	state    rpc.BackupState
	told     time.Time
}

func newProgress(w io.Writer) *progress { return &progress{w: w, terminal: terminalWidth(w) > 0} }

func (p *progress) tell(b rpc.Backup) {
	text := progressText(b)
	switch {
	case p.terminal:
		fmt.Fprintf(p.w, "\r\x1b[K%.*s", max(terminalWidth(p.w)-1, 20), text)
	case b.State != p.state || time.Since(p.told) >= tellEvery:
		fmt.Fprintln(p.w, text)
		p.told = time.Now()
	}
	p.state = b.State
}

// end leaves the line that changes.
func (p *progress) end() {
	if p.terminal && p.state != "" {
		fmt.Fprintln(p.w)
	}
}

func progressText(b rpc.Backup) string {
	complete := 0
	for _, d := range b.Disks {
		if d.Complete {
			complete++
		}
	}
	return safe(fmt.Sprintf("%s: %s, %d of %s complete, %s received", b.BackupID, b.State, complete, count(len(b.Disks), "disk"), humanSize(b.BytesTransferred)))
}

func tagList(tags map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, name+"="+tags[name])
	}
	return strings.Join(list, ", ")
}
