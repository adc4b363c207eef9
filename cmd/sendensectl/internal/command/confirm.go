package command

import (
	"bufio"
	"context"
	"errors"
	"strings"
)

// errKept is the error if the user does not confirm.
var errKept = errors.New("nothing was deleted")

// Confirm waits for the answer to a yes-or-no question, and fails unless it is yes.
func (a *App) Confirm(ctx context.Context) error {
	answer := make(chan string, 1)
	go func() { // a read of a terminal cannot be interrupted; the process ends soon
		line, _ := bufio.NewReader(a.Stdin).ReadString('\n')
		answer <- line
	}()
	select {
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
		return errKept
	case <-ctx.Done():
		return ctx.Err()
	}
}
