package hubtest

import "strings"

// A Command is one command line of sendensectl with what it must give.
type Command struct {
	args   []string
	code   int
	stdout string // what standard output holds; "" for nothing at all
	stderr string
}

// Step makes a Command: the arguments, the exit code, and what standard output and standard error hold, "" for nothing at all.
func Step(args []string, code int, stdout, stderr string) Command {
	return Command{args, code, stdout, stderr}
}

// Steps runs one command line after the other.
func (h *Hub) Steps(list ...Command) {
	h.Helper()
	for _, s := range list {
		code, stdout, stderr := h.CTL(s.args...)
		bad := code != s.code || !strings.Contains(stdout, s.stdout) || !strings.Contains(stderr, s.stderr) ||
			(s.stdout == "") != (stdout == "") || (s.stderr == "") != (stderr == "")
		if bad {
			h.Errorf("sendensectl %s: code %d, want %d\nstdout %q, want …%s…\nstderr %q, want …%s…",
				strings.Join(s.args, " "), code, s.code, stdout, s.stdout, stderr, s.stderr)
		}
	}
}

// Words are the words of a line.
func Words(line string) []string { return strings.Fields(line) }
