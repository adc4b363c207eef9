package setup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// ErrNoTerminal means that the process has no terminal that could ask.
var ErrNoTerminal = errors.New("there is no terminal")

// AskSecrets asks for secrets on the terminal of the process, one line each, without an echo. Standard input and output may be other
// files. An interruption is an error; the terminal has its echo again in any case. Without a terminal it returns [ErrNoTerminal].
func AskSecrets(ctx context.Context, questions ...string) (answers []string, err error) {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer stop()
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, ErrNoTerminal
	}
	defer tty.Close()
	t, err := openTerminal(ctx, tty, tty)
	if err != nil {
		return nil, err
	}
	defer t.close()
	restore, err := t.hide()
	if err != nil {
		return nil, err
	}
	defer restore()
	for _, question := range questions {
		answer, err := t.line(question + " (not shown)")
		if err != nil {
			return nil, err
		}
		fmt.Fprintln(tty)
		answers = append(answers, answer)
	}
	return answers, nil
}
