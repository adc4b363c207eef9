// Package host asks the machine that is measured, and runs programs on it: waits with a bound, processes, ports, CPU time.
package host

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Eventually polls until something is done.
func Eventually(ctx context.Context, what string, done func() bool) error {
	for deadline := time.Now().Add(Patience); !done(); time.Sleep(5 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %s", what, Patience)
		}
	}
	return nil
}

// Run runs a program to its end; its output is in the error.
func Run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return nil
}

// Appears polls until a file has content.
func Appears(ctx context.Context, path string) error {
	for deadline := time.Now().Add(Patience); ; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("%s does not appear", path)
		}
	}
}

// Dialable polls until a port accepts connections.
func Dialable(ctx context.Context, port string) error {
	for deadline := time.Now().Add(Patience); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			return c.Close()
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("port %s: %w", port, err)
		}
	}
}

// FirstWord is the first word of a file.
func FirstWord(path string) string {
	text, _ := os.ReadFile(path)
	word, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	return word
}

// Patience limits every wait.
const Patience = 2 * time.Minute
