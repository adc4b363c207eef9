package backup

import (
	"context"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/progress"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal/terminaltest"
	"github.com/sendense/backup-agent/rpc"
)

// crashing is a view with a bug.
type crashing struct{ *progress.Bars }

func (crashing) Show(rpc.Event) { panic("a bug") }

// TestTypingDoesNotDisturbWhatIsDrawn: the echo is off during the drawing, and on again however the drawing ends.
func TestTypingDoesNotDisturbWhatIsDrawn(t *testing.T) {
	t.Setenv("TERM", "xterm")
	for name, draw := range map[string]func(a *command.App, quiet func()){
		"until the end": func(a *command.App, quiet func()) {
			v := progress.NewBars(a.Stderr)
			quiet()
			v.Close()
		},
		"until interrupted": func(a *command.App, quiet func()) {
			ctx, cancel := context.WithCancel(t.Context())
			c, err := rpc.Dial(ctx, watched(t, script{runningEvent}))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			v := progress.NewBars(a.Stderr)
			quiet()
			cancel()
			if _, err := follow(ctx, a, c, rpc.WatchRequest{}, v); err == nil {
				t.Error("nobody was interrupted")
			}
		},
		"until a crash": func(a *command.App, quiet func()) {
			defer func() {
				if recover() == nil {
					t.Error("nothing crashed")
				}
			}()
			c, err := rpc.Dial(t.Context(), watched(t, script{runningEvent}))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			v := crashing{progress.NewBars(a.Stderr)}
			quiet()
			follow(t.Context(), a, c, rpc.WatchRequest{}, v) //nolint:errcheck // it does not return
		},
	} {
		t.Run(name, func(t *testing.T) {
			terminal, read := terminaltest.Open(t, 80)
			defer read()
			drawn := false
			draw(command.New("", nil, terminal, terminal), func() {
				drawn = true
				if terminaltest.Echoes(t, terminal) {
					t.Error("the terminal echoes during the drawing")
				}
			})
			if !drawn || !terminaltest.Echoes(t, terminal) {
				t.Errorf("drawn: %t, echoes afterwards: %t", drawn, terminaltest.Echoes(t, terminal))
			}
		})
	}
}
