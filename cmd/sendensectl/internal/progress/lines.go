package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/rpc"
)

// Lines prints a line for each change of the state of a backup, and progress at an interval while it runs.
type Lines struct {
	w       io.Writer
	every   time.Duration // between two progress lines of one backup
	printed map[string]printed
}

// printed is what was last printed of a backup.
type printed struct {
	state   rpc.BackupState
	damaged bool
	at      time.Time
}

// NewLines makes a view of lines.
func NewLines(w io.Writer, every time.Duration) *Lines {
	return &Lines{w: w, every: every, printed: map[string]printed{}}
}

func (l *Lines) Show(e rpc.Event) {
	if h := e.HeldPrune; h != nil {
		l.Say(describe.HeldPrune(*h))
	}
	if e.RepositoryID != "" {
		l.Say(describe.Pause(e))
	}
	if e.Backup == nil {
		return
	}
	b, last := *e.Backup, l.printed[e.Backup.BackupID]
	switch {
	case b.State != last.state || b.Damaged() != last.damaged:
		l.Say(describe.State(b))
	case e.Progress != nil && time.Since(last.at) >= l.every:
		l.Say(b.BackupID + ": " + describe.Progress(*e.Progress))
	default:
		return
	}
	l.printed[b.BackupID] = printed{b.State, b.Damaged(), time.Now()}
}

func (l *Lines) Say(line string) { fmt.Fprintln(l.w, human.Safe(line)) }

func (l *Lines) Close() {}

// JSONLines prints every event as one line of JSON, unchanged.
type JSONLines struct {
	enc  *json.Encoder
	errs io.Writer
}

// NewJSONLines makes a view of JSON. What Say prints goes to errs.
func NewJSONLines(w, errs io.Writer) *JSONLines {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &JSONLines{enc, errs}
}

func (j *JSONLines) Show(e rpc.Event) { j.enc.Encode(e) } //nolint:errcheck // if the reader is gone, SIGPIPE ends the program

func (j *JSONLines) Say(line string) { fmt.Fprintln(j.errs, human.Safe(line)) }

func (j *JSONLines) Close() {}
