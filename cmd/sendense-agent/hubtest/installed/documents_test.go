package installed_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/cmd/internal/docblocks"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// documents are the pages whose blocks are run, in the order in which they run. docs/demo.md is the output of a program.
func documents(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(root, "docs/*.md"))
	hubtest.Must(t, err)
	return append([]string{filepath.Join(root, "README.md")}, pages...)
}

// mostShown is how many blocks may be shown only. Each has its reason beside it.
const mostShown = 6

var ourCommand = regexp.MustCompile(`(?m)^\s*(sendensectl|sendense-agent|systemctl|journalctl|qemu-img|curl) `)

// TestBlocks: each block of commands of the documents runs in a test or says why not, and no comment is misspelled.
func TestBlocks(t *testing.T) {
	shown, runs := []string{}, 0
	for _, page := range documents(t) {
		source, err := os.ReadFile(page)
		hubtest.Must(t, err)
		for _, c := range docblocks.Comments(string(source)) {
			if !docblocks.Known(c) && !strings.HasPrefix(c, "<!-- Made from ") {
				t.Errorf("%s: %s: is no comment for a block", page, c)
			}
		}
		blocks, err := docblocks.Parse(page, source)
		hubtest.Must(t, err)
		for _, b := range blocks {
			switch {
			case b.Do == docblocks.Shown && len(b.Argument) < 10:
				t.Errorf("%s: shown without a reason", b)
			case b.Do == docblocks.Shown:
				shown = append(shown, fmt.Sprintf("%s: %s", b, b.Argument))
			case b.Do == docblocks.Run:
				runs++
			case b.Do == "" && ourCommand.MatchString(b.Text):
				t.Errorf("%s: commands in a block of the language %s, which nothing runs", b, b.Language)
			}
		}
	}
	if len(shown) > mostShown {
		t.Errorf("%d blocks are shown only:\n%s", len(shown), strings.Join(shown, "\n"))
	}
	if runs < 60 {
		t.Errorf("only %d blocks run", runs)
	}
}

// A reader runs the blocks on an appliance with a VM that has two restore points.
type reader struct {
	*appliance
	backup string // the newest restore point of web-01
}

// TestCommandsOfTheDocuments runs every block of the documents.
func TestCommandsOfTheDocuments(t *testing.T) {
	r := &reader{appliance: newAppliance(t)}
	// These waits are for a client of a real SNA.
	r.run("sed", "-i", `s/^last_question = .*/last_question = "50ms"/; s/^cooldown = .*/cooldown = "0s"/`, configFile)
	r.addVM("web-01", hubtest.DiskSize)
	if out, err := exec.Command("useradd", "--groups", "sendense", "member").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r.bind(filepath.Join(r.dir, "new"), "/mnt")
	for _, dir := range []string{"/mnt/new", "/srv/slow"} {
		hubtest.Must(t, os.MkdirAll(dir, 0o755))
	}
	r.timedated()
	for _, page := range documents(t) {
		blocks, err := docblocks.Read(page)
		hubtest.Must(t, err)
		for _, b := range blocks {
			r.block(b)
		}
	}
}

func (r *reader) block(b docblocks.Block) {
	r.Helper()
	begin := time.Now()
	switch {
	case b.Do == docblocks.File:
		r.file(b)
	case b.Do == docblocks.Run && b.Argument == "terminal":
		r.answers(b)
	case b.Do == docblocks.Run && b.Language == "console":
		return // a transcript: make demo-check
	case b.Do == docblocks.Run:
		r.commands(b)
	case b.Language == "toml":
		if _, err := config.Parse([]byte(snippet(b.Text))); err != nil {
			r.Errorf("%s: %v", b, err)
		}
	}
	if d := time.Since(begin); d > time.Second {
		r.Logf("%s: %s", b, d.Round(100*time.Millisecond))
	}
}

// snippet makes a configuration of a part of one.
func snippet(text string) string {
	const repository = "[[repository]]\nid = \"main\"\npath = \"/srv/backup\"\n"
	switch {
	case strings.Contains(text, "encryption_key"):
		return repository + text
	case strings.Contains(text, "[[schedule]]"):
		return "default_repository = \"main\"\n" + repository + text
	}
	return text
}

// file writes what a document says to write.
func (r *reader) file(b docblocks.Block) {
	r.Helper()
	if unit, found := strings.CutPrefix(b.Argument, "/etc/systemd/system/"); found {
		hubtest.Must(r.T, os.WriteFile(filepath.Join("/run/systemd/system", unit), []byte(b.Text), 0o644))
		r.Cleanup(func() { os.Remove(filepath.Join("/run/systemd/system", unit)) })
		return
	}
	if b.Argument != "the table of the repository" {
		r.Fatalf("%s: no test writes the file %q", b, b.Argument)
	}
	// The test keeps its repository as it is, and adds another one.
	hubtest.Must(r.T, os.MkdirAll("/srv/encrypted", 0o755))
	text, err := os.ReadFile(configFile)
	hubtest.Must(r.T, err)
	text = append(text, encryptedRepository+b.Text...)
	hubtest.Must(r.T, os.WriteFile(configFile, text, 0o644))
}

const encryptedRepository = "\n[[repository]]\nid = \"encrypted\"\npath = \"/srv/encrypted\"\n"

// answers runs a command on a terminal, and answers the questions of the setup.
func (r *reader) answers(b docblocks.Block) {
	r.Helper()
	p := r.terminal("bash", "-c", b.Text)
	p.types("Directory of the restore points [/srv/backup]", "\n")
	p.types("Host name of the vCenter", "vcenter.example.com\n")
	p.types("User of the vCenter", "backup@vsphere.local\n")
	p.types("Datacenter", "DC1\n")
	p.types("URL of the SNA", "\n")
	p.types("Password", "secret\n")
	p.types("Write this", "y\n")
	if err := <-p.done; err != nil {
		r.Fatalf("%s: %v: %s", b, err, p.screen.String())
	}
}

// wants is what the comment of a block asks for.
type wants struct {
	exit  int
	state string // in which it runs
	says  string
}

func parseWants(b docblocks.Block) (w wants, err error) {
	for part := range strings.SplitSeq(b.Argument, ", ") {
		word, rest, _ := strings.Cut(part, " ")
		switch word {
		case "":
		case "exit":
			w.exit, err = strconv.Atoi(rest)
		case "says":
			w.says = rest
		case "with", "in", "for", "confirmed":
			w.state = part
		default:
			err = fmt.Errorf("%s: %q: unknown", b, part)
		}
	}
	return w, err
}

// echoed is what "; echo $?  # 4: why" must print.
var echoed = regexp.MustCompile(`(?m); echo \$\?\s+# (\d+):`)

// searches lets a search of the journal find no entry, or no unit: journalctl then exits with 1.
const searches = `journalctl() {
	local out code=0
	case "$*" in
	*" -g "* | *'*'*)
		out=$(command journalctl "$@" 2>&1) || code=$?
		echo "$out"
		[ $code = 0 ] || [ "$out" = "-- No entries --" ] || [ "$out" = "Failed to add filter for units: No data available" ] ;;
	*) command journalctl "$@" ;;
	esac
}
`

func (r *reader) commands(b docblocks.Block) {
	r.Helper()
	w, err := parseWants(b)
	hubtest.Must(r.T, err)
	r.settle()
	dir, leave := r.state(w.state)
	defer leave()
	script := r.filled(b.Text)
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Minute)
	defer cancel()
	args := []string{"bash", "-euo", "pipefail", "-c", searches + script}
	if strings.Contains(script, "echo $?") {
		args[1] = "-uo" // the exit code is shown, and does not end the block
	}
	if w.state == "for a second" {
		args = append([]string{"timeout", "--signal=INT", "1"}, args...)
		w.exit = 124
	}
	if w.state == "confirmed" {
		r.confirmed(b, script)
		return
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "SYSTEMD_PAGER=")
	out, err := cmd.CombinedOutput()
	exit := 0
	if e := new(exec.ExitError); errors.As(err, &e) {
		exit = e.ExitCode()
	} else {
		hubtest.Must(r.T, err)
	}
	if exit != w.exit {
		r.Errorf("%s: exit code %d, want %d\n%s\n%s", b, exit, w.exit, script, out)
	}
	if !strings.Contains(string(out), w.says) {
		r.Errorf("%s: does not say %s\n%s", b, w.says, out)
	}
	printed := strings.Split(string(out), "\n")
	for _, m := range echoed.FindAllStringSubmatch(b.Text, -1) {
		at := slices.Index(printed, m[1])
		if at < 0 {
			r.Errorf("%s: no exit code %s\n%s", b, m[1], out)
			continue
		}
		printed = printed[at+1:]
	}
}

// confirmed runs the commands on a terminal, and answers the confirmation if one is asked for.
func (r *reader) confirmed(b docblocks.Block, script string) {
	r.Helper()
	p := r.terminal("bash", "-euo", "pipefail", "-c", script)
	for limit, asked := time.After(hubtest.Patience), false; ; {
		select {
		case err := <-p.done:
			if err != nil {
				r.Errorf("%s: %v: %s", b, err, p.screen.String())
			}
			return
		case <-limit:
			r.Fatalf("%s: still runs: %s", b, p.screen.String())
		case <-time.After(20 * time.Millisecond):
		}
		if !asked && strings.Contains(p.screen.String(), "[y/N]") {
			asked = true
			_, err := p.master.WriteString("y\n")
			hubtest.Must(r.T, err)
		}
	}
}

var sampleID = regexp.MustCompile(`backup-web-01-\d{10}|\bBACKUP\b`)

// filled replaces what the reader must fill in.
func (r *reader) filled(text string) string {
	text = sampleID.ReplaceAllString(text, r.backup)
	restore := `"$(sendensectl restore list --active -o json | jq -r '.restores[0].restore_id')"`
	if strings.Contains(text, "RESTORE") && !strings.Contains(text, "restore start") {
		started, err := r.dial().StartRestore(r.Context(), rpc.RestoreRequest{BackupID: r.backup})
		hubtest.Must(r.T, err)
		restore = started.RestoreID
	}
	for word, to := range map[string]string{
		"RESTORE":    restore,
		"VCENTER":    "main",
		"NAME":       "web",
		"VM":         "web-01",
		"REPOSITORY": "main",
	} {
		text = regexp.MustCompile(`\b`+word+`\b`).ReplaceAllLiteralString(text, to)
	}
	return text
}
