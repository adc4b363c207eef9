package main

import (
	"context"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/rpc"
)

// echoes says whether a terminal shows what is typed.
func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	modes, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return modes.Lflag&unix.ECHO != 0
}

// crashing is a view with a bug.
type crashing struct{ *bars }

func (crashing) show(rpc.Event) { panic("a bug") }

// While something is drawn over, what is typed does not move it; and whatever ends the drawing, the terminal is as before.
func TestTypingDoesNotDisturbWhatIsDrawn(t *testing.T) {
	t.Setenv("TERM", "xterm")
	for name, draw := range map[string]func(a *app, quiet func()){
		"until the end": func(a *app, quiet func()) {
			v := newBars(a.stderr)
			quiet()
			v.close()
		},
		"until interrupted": func(a *app, quiet func()) {
			ctx, cancel := context.WithCancel(t.Context())
			c, err := rpc.Dial(ctx, watched(t, script{runningEvent}))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			v := newBars(a.stderr)
			quiet()
			cancel()
			if _, err := a.follow(ctx, c, rpc.WatchRequest{}, v); err == nil {
				t.Error("nobody was interrupted")
			}
		},
		"until a crash": func(a *app, quiet func()) {
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
			v := crashing{newBars(a.stderr)}
			quiet()
			a.follow(t.Context(), c, rpc.WatchRequest{}, v) //nolint:errcheck // it does not return
		},
		"again and again": func(a *app, quiet func()) {
			ctx, cancel := context.WithCancel(t.Context())
			socket := changing(t, 3, func() { quiet(); cancel() })
			if code := run(ctx, []string{"repository", "list", "-w", "--interval", "100ms", "--socket", socket}, nil, a.stdout, a.stderr); code != exitOK {
				t.Errorf("exit code %d", code)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			terminal, read := openTerminal(t, 80)
			defer read()
			drawn := false
			draw(newApp("", nil, terminal, terminal), func() {
				drawn = true
				if echoes(t, terminal) {
					t.Error("the terminal echoes while it is drawn on")
				}
			})
			if !drawn || !echoes(t, terminal) {
				t.Errorf("drawn: %t, echoes afterwards: %t", drawn, echoes(t, terminal))
			}
		})
	}
}
