package nfstest_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// say begins the lines that the virtual machine has for the test; the kernel writes to the same console.
const say = "NFSTEST "

// TestMain runs the tests, or what the virtual machine does: there this program is the first process.
func TestMain(m *testing.M) {
	if os.Getpid() == 1 {
		runGuest()
	}
	os.Exit(m.Run())
}

// TestNFS keeps a repository on NFS, of versions 3 and 4.1. Each part of the test is a row of parts.
func TestNFS(t *testing.T) {
	begun := time.Now()
	s := newServer(t)
	m := boot(t, s)
	passed := map[string]bool{}
	for lines := bufio.NewScanner(m.console); lines.Scan(); {
		_, line, ours := strings.Cut(lines.Text(), say)
		if !ours {
			t.Log(lines.Text())
			continue
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "pass":
			passed[rest] = true
			t.Logf("passed after %s: %s", time.Since(begun).Round(time.Second), rest)
		case "fail":
			t.Error(rest)
		case "fact":
			t.Log(rest)
		case "host":
			if err := s.do(rest); err != nil {
				t.Errorf("%s: %v", rest, err)
			}
			_, _ = fmt.Fprintln(m.keyboard, "done") // a machine that has ended needs no answer
		}
	}
	for _, v := range versions {
		for _, p := range parts {
			if name := v + ": " + p.name; !passed[name] && !t.Failed() {
				t.Errorf("%s: the machine ended before", name)
			}
		}
	}
}
