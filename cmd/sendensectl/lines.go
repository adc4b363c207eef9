package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// lines tells in lines that stay: one for each change of a backup's state, and one now and then while it runs.
type lines struct {
	w     io.Writer
	every time.Duration // between two lines about the progress of one backup
	told  map[string]told
}

// told is what was told of a backup last.
type told struct {
	state   rpc.BackupState
	damaged bool
	at      time.Time
}

func newLines(w io.Writer, every time.Duration) *lines {
	return &lines{w: w, every: every, told: map[string]told{}}
}

func (l *lines) show(e rpc.Event) {
	if h := e.HeldPrune; h != nil {
		l.say(heldText(*h))
	}
	if e.Backup == nil {
		return
	}
	b, last := *e.Backup, l.told[e.Backup.BackupID]
	switch {
	case b.State != last.state || b.Damaged() != last.damaged:
		l.say(stateLine(b))
	case e.Progress != nil && time.Since(last.at) >= l.every:
		l.say(b.BackupID + ": " + progressText(*e.Progress))
	default:
		return
	}
	l.told[b.BackupID] = told{b.State, b.Damaged(), time.Now()}
}

func (l *lines) say(line string) { fmt.Fprintln(l.w, safe(line)) }

func (l *lines) close() {}

func stateLine(b rpc.Backup) string {
	line := fmt.Sprintf("%s: %s", b.BackupID, b.State)
	complete := 0
	for _, d := range b.Disks {
		if d.Complete {
			complete++
		}
	}
	if len(b.Disks) > 0 {
		line += fmt.Sprintf(", %d of %s complete", complete, count(len(b.Disks), "disk"))
	}
	if b.BytesTransferred > 0 {
		line += fmt.Sprintf(", %s received", humanSize(b.BytesTransferred))
	}
	if b.Failure != nil {
		line += ", " + b.Failure.Message
	}
	if b.Damaged() {
		line += ", " + verifiedText(b.Verified, b.InheritedFrom)
	}
	return line
}

func progressText(p rpc.Progress) string {
	text := fmt.Sprintf("%s, %s received, %s/s", percent(p.Fraction), humanSize(p.ReceivedBytes), humanSize(uint64(max(p.BytesPerSecond, 0))))
	if left := remaining(p); left != "" {
		text += ", " + left + " left"
	}
	return text
}

// remaining is the time that is left by estimate; nothing when it is not known.
func remaining(p rpc.Progress) string {
	if p.ETASeconds <= 0 {
		return ""
	}
	return humanDuration(time.Duration(p.ETASeconds) * time.Second)
}

// jsonLines tells every event as one line of JSON, as it came.
type jsonLines struct {
	enc  *json.Encoder
	errs io.Writer
}

func newJSONLines(w, errs io.Writer) *jsonLines {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &jsonLines{enc, errs}
}

func (j *jsonLines) show(e rpc.Event) { j.enc.Encode(e) } //nolint:errcheck // whoever read it has gone, and SIGPIPE ends us

func (j *jsonLines) say(line string) { fmt.Fprintln(j.errs, safe(line)) }

func (j *jsonLines) close() {}
