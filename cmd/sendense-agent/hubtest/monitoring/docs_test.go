package monitoring_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// documents reads the pages for users and contributors, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../../../docs/*.md")
	hubtest.Must(t, err)
	pages := map[string]string{}
	for _, name := range []string{"README.md", "SECURITY.md", "CONTRIBUTING.md"} {
		paths = append(paths, filepath.Join("../../../..", name))
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		hubtest.Must(t, err)
		pages[path] = string(text)
	}
	return pages
}

// TestTroubleshooting: every reason that a request may be refused for, or a backup may fail for, has its section.
func TestTroubleshooting(t *testing.T) {
	sections := troubleshooting(t)
	reasons := rpc.Reasons()
	if len(reasons) < 25 {
		t.Errorf("only %d reasons", len(reasons))
	}
	for _, r := range reasons {
		if !slices.Contains(sections, string(r)) {
			t.Errorf("docs/troubleshooting.md has no section %s", r)
		}
	}
	for _, s := range sections {
		if s == strings.ToLower(s) && !slices.Contains(reasons, rpc.Reason(s)) {
			t.Errorf("docs/troubleshooting.md has a section %s, and there is no such reason", s)
		}
	}
}

var (
	code = regexp.MustCompile("(?m)`(sendense(?:ctl|-agent) [^`]*)`|^ {4,8}(sendense(?:ctl|-agent) .*)$|^ExecStart=/usr/bin/(sendense.*)$")
	verb = regexp.MustCompile(`^[a-z][a-z-]+$`)
	flag = regexp.MustCompile(`(?:^| )(--?[a-z][a-z-]*)`)
)

// TestCommandsInTheDocs: every command in the docs exists and has the flags that are shown.
func TestCommandsInTheDocs(t *testing.T) {
	helps := helpTexts{}
	for path, text := range documents(t) {
		for _, line := range shownCommands(text) {
			helps.check(t, path, line)
		}
	}
	if len(helps) < 15 {
		t.Errorf("found only %d commands: %v", len(helps), helps)
	}
}

// helpTexts are the outputs of --help, by command.
type helpTexts map[string]string

// check fails the test if the command of a line does not exist or lacks a flag of the line.
func (h helpTexts) check(t *testing.T, origin, line string) {
	t.Helper()
	words := strings.Fields(line)
	n := 1
	for n < len(words) && n < 3 && verb.MatchString(words[n]) {
		n++
	}
	command := strings.Join(words[:n], " ")
	if h[command] == "" {
		out, err := exec.Command(hubtest.Program(words[0]), append(slices.Clone(words[1:n]), "--help")...).CombinedOutput()
		known := strings.Contains(string(out), command) || // or the last word is an argument
			strings.Contains(string(out), strings.Join(words[:n-1], " ")+" [") && !strings.Contains(string(out), "Available Commands")
		if err != nil || !known {
			t.Errorf("%s: there is no %s: %v\n%s", origin, command, err, out)
		}
		h[command] = string(out)
	}
	for _, f := range flag.FindAllStringSubmatch(strings.TrimPrefix(line, command), -1) {
		if !regexp.MustCompile(`(?m)^ .*` + regexp.QuoteMeta(f[1]) + `\b`).MatchString(h[command]) {
			t.Errorf("%s: %s: there is no flag %s", origin, line, f[1])
		}
	}
}

// shownCommands are the calls of our programs in a page, without what is written beside them.
func shownCommands(text string) (lines []string) {
	for _, m := range code.FindAllStringSubmatch(text, -1) {
		line, _, _ := strings.Cut(m[1]+m[2]+m[3], "  ")
		line, _, _ = strings.Cut(line, " > ")
		line, _, _ = strings.Cut(line, " | ")
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}

// TestWhoIsConnected: the command of docs/troubleshooting.md names the clients of the socket, and not the daemon.
func TestWhoIsConnected(t *testing.T) {
	command := regexp.MustCompile(`(?m)^ {4}(ss -xpH .*)$`).FindStringSubmatch(documents(t)["../../../../docs/troubleshooting.md"])
	if command == nil {
		t.Fatal("docs/troubleshooting.md does not show it")
	}
	h := hubtest.New(t)
	client := h.Dial()
	_, err := client.Status(t.Context()) // once it answers, it has accepted
	hubtest.Must(t, err)
	out, err := exec.Command("sh", "-c", command[1]).CombinedOutput()
	us := fmt.Sprintf("pid=%d,", os.Getpid())
	if err != nil || !strings.Contains(string(out), us) || strings.Contains(string(out), `"sendense-agent"`) {
		t.Errorf("%v: want a line with %s, and none of the daemon\n%s", err, us, out)
	}
}

var (
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	title  = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notKey = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// checkLinks fails the test for each relative link of a page whose file or heading does not exist.
// fenced is a code block between fences. What looks like a link in code is none.
var fenced = regexp.MustCompile("(?ms)^```.*?^```$")

func checkLinks(t *testing.T, path, text string) {
	t.Helper()
	for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
			continue
		}
		file, place, _ := strings.Cut(m[1], "#")
		target := path
		if file != "" {
			target = filepath.Join(filepath.Dir(path), file)
		}
		if _, err := os.Stat(target); err != nil {
			t.Errorf("%s: %s: %v", path, m[1], err)
			continue
		}
		if place != "" && !slices.Contains(places(t, target), place) {
			t.Errorf("%s: %s has no heading #%s", path, target, place)
		}
	}
}

// placesOf keeps what places has found: many links lead to the same pages.
var placesOf = map[string][]string{}

// places are the anchors of the headings of a page.
func places(t *testing.T, path string) (names []string) {
	t.Helper()
	if names, known := placesOf[path]; known {
		return names
	}
	defer func() { placesOf[path] = names }()
	text, err := os.ReadFile(path)
	hubtest.Must(t, err)
	for _, m := range title.FindAllStringSubmatch(string(text), -1) {
		names = append(names, strings.ReplaceAll(notKey.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return names
}
