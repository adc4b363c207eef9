package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// A hub is a daemon as a service, an SNA, and the VMs that are backed up, in a slot of the machine.
type hub struct {
	*testing.T
	slot    int
	dir     string // on a disk
	run     string // of the slot
	sna     *snatest.Server
	foreign []string // units that look like the agent's and are not
	second  string   // id of the second repository; "" = there is none
	tape    *tape    // what is written down of it; nil where the power stays on

	mu       sync.Mutex // held while the sources are written to or copied
	vms      map[string]*vm
	instants map[string][]string // by job: what the disks held when its snapshot was taken
	robbed   map[string]bool     // jobs of which an exporter was killed
}

// names makes the VMs of different hubs differ: their units live in the same systemd.
var names atomic.Int64

// newHub starts an SNA and the callback socket; boot starts the daemon. extra is appended to the configuration.
func newHub(t *testing.T, extra string) *hub {
	t.Helper()
	return newTapedHub(t, extra, nil)
}

// newTapedHub is newHub with a tape: all that happens to the database and the repository is on it.
func newTapedHub(t *testing.T, extra string, tape *tape) *hub {
	t.Helper()
	h := &hub{
		T: t, slot: <-slots, dir: systemdtest.DiskDir(t), tape: tape,
		vms: map[string]*vm{}, instants: map[string][]string{}, robbed: map[string]bool{},
	}
	t.Cleanup(func() { slots <- h.slot })
	h.run = runDir(h.slot)
	must(t, os.RemoveAll(h.run))
	for _, dir := range []string{filepath.Dir(h.socket()), h.dir + "/state", h.dir + "/repository", h.dir + "/instants"} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	h.tape.insert(h)
	var err error
	h.sna, err = snatest.New(snatest.Options{
		Callback: h.tape.callbacks(h), OldContract: true, Dir: h.dir, Quiesce: h.quiesce,
		RetryDelay: 100 * time.Millisecond, // a tenth of the real one, for deadlines that are less than that of the real ones
	})
	must(t, err)
	t.Cleanup(h.sna.Close)
	must(t, os.WriteFile(h.run+"/config.toml", []byte(h.config(extra)), 0o644))
	must(t, os.Symlink(daemon(), h.program()))
	t.Cleanup(h.tearDown)
	_, err = systemctl("start", socketOf(h.slot))
	must(t, err)
	return h
}

// config has short deadlines, so that whatever SBC does, every backup ends in seconds.
func (h *hub) config(extra string) string {
	first := h.firstPort()
	return fmt.Sprintf(`default_repository = "main"
[agent]
state_directory = "%[1]s/state"
socket = "%[2]s"
log_format = "text"
log_level = "debug"
%[6]s
[nbd]
first_port = %[3]d
last_port = %[4]d
[sna]
url = "%[5]s"
start_timeout = "5s"
cooldown = "1s"
[deadlines]
first_connection = "3s"
no_progress = "3s"
disconnect = "3s"
last_question = "200ms"
[space]
reserve = "64MiB"
[metrics]
enabled = false
[http]
enabled = true
[[repository]]
id = "main"
path = "%[1]s/repository"
`, h.dir, h.socket(), first, first+portsPerSlot-1, h.tape.requests(h), extra)
}

// repositories are the directories of the repositories, by id.
func (h *hub) repositories() map[string]string {
	paths := map[string]string{"main": filepath.Join(h.dir, "repository")}
	if h.second != "" {
		paths[h.second] = filepath.Join(h.dir, "second")
	}
	return paths
}

// set changes a key of the configuration of the next daemon, "section.key".
func (h *hub) set(key, value string) {
	h.Helper()
	path := h.run + "/config.toml"
	text, err := os.ReadFile(path)
	must(h.T, err)
	section, name, _ := strings.Cut(key, ".")
	before, after, found := strings.Cut(string(text), "["+section+"]\n")
	if !found {
		after = ""
		before += "\n"
	}
	next := strings.Index(after, "\n[")
	if next < 0 {
		next = len(after)
	}
	var kept strings.Builder
	for line := range strings.Lines(after[:next]) {
		if !strings.HasPrefix(line, name+" = ") {
			kept.WriteString(line)
		}
	}
	changed := fmt.Sprintf("%s[%s]\n%s = %s\n%s%s", before, section, name, value, kept.String(), after[next:])
	must(h.T, os.WriteFile(path, []byte(changed), 0o644))
}

// limitBackups has the next daemon run so many backups at the same time, and queue the others.
func (h *hub) limitBackups(most int) { h.Helper(); h.set("limits.max_backups", strconv.Itoa(most)) }

func (h *hub) firstPort() int { return 20000 + (h.slot-firstSlot)*portsPerSlot }

// environment sets the environment of the next daemon that starts, whoever starts it.
func (h *hub) environment(lines ...string) {
	h.Helper()
	path := h.run + "/environment"
	must(h.T, os.WriteFile(path+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	must(h.T, os.Rename(path+".new", path))
}

// stopAt has the next daemon stop at a point, NAME:N for the Nth time that it is reached.
func (h *hub) stopAt(point string) {
	h.Helper()
	if err := os.Remove(h.sign()); err != nil && !errors.Is(err, os.ErrNotExist) {
		h.Fatal(err)
	}
	h.environment("SENDENSE_FAILPOINT=\""+point+"\"", "SENDENSE_FAILPOINT_FILE="+h.sign())
}

func (h *hub) sign() string { return h.run + "/reached" }

// socket is the daemon's, in a directory of its own.
func (h *hub) socket() string { return h.run + "/socket/agent.sock" }

// program is what systemd starts.
func (h *hub) program() string { return h.run + "/sendense-agent" }

// reached says whether the daemon has stopped at the point.
func (h *hub) reached() bool {
	_, err := os.Stat(h.sign())
	return err == nil
}

// boot starts the daemon and returns when it answers, or has stopped at the point.
func (h *hub) boot() {
	h.Helper()
	before := h.endedByItself()
	_, err := systemctl("start", "--no-block", serviceOf(h.slot))
	must(h.T, err)
	h.eventually("the daemon answers", func() bool {
		if now := h.endedByItself(); now != "" && now != before {
			h.Fatal("the daemon ended by itself at its start")
		}
		return h.reached() || h.answers()
	})
	if !h.reached() {
		h.tape.mark(notice{kind: isReady})
	}
}

// endedByItself is the invocation of the daemon that has ended by itself with an error, as it does when it refuses its configuration; "" if
// there is none.
func (h *hub) endedByItself() string {
	h.Helper()
	text, err := systemctl("show", "--property=InvocationID,Result,ActiveState", serviceOf(h.slot))
	must(h.T, err)
	if !strings.Contains(text, "Result=exit-code") || !strings.Contains(text, "ActiveState=failed") {
		return ""
	}
	_, id, _ := strings.Cut(text, "InvocationID=")
	id, _, _ = strings.Cut(id, "\n")
	return id
}

// answers says whether the daemon answers before it stops at its point.
func (h *hub) answers() bool {
	ctx, cancel := h.untilReached()
	defer cancel()
	return h.with(ctx, func(c *rpc.Client) error {
		_, err := c.Status(ctx)
		return err
	}) == nil
}

// kill ends the daemon with SIGKILL, and returns when it is gone.
func (h *hub) kill() {
	h.Helper()
	text, err := systemctl("show", "--property=MainPID", "--value", serviceOf(h.slot))
	must(h.T, err)
	pid, err := strconv.Atoi(text)
	must(h.T, err)
	if pid == 0 {
		return // it is down
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		h.Fatal(err)
	}
	h.eventually("the daemon is gone", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
}

// halt stops the daemon in order.
func (h *hub) halt() {
	h.Helper()
	_, err := systemctl("stop", serviceOf(h.slot))
	must(h.T, err)
}

// tearDown leaves the machine to the next hub of the slot. What does not end by itself is killed.
func (h *hub) tearDown() {
	if h.Failed() {
		h.explain()
	}
	stop := []string{serviceOf(h.slot), socketOf(h.slot)}
	for name := range h.vms {
		units, err := exporterUnits(name)
		if err != nil {
			h.Error(err)
		}
		stop = append(stop, units...)
	}
	for _, unit := range stop {
		_, _ = systemctl("kill", "--signal=KILL", unit) // most have ended
	}
	if _, err := systemctl(append([]string{"stop"}, stop...)...); err != nil {
		h.Error(err)
	}
	_, _ = systemctl(append([]string{"reset-failed"}, stop...)...) // most have not failed
}

// explain logs what a failed test leaves.
func (h *hub) explain() {
	h.Logf("the daemon's log:\n%s", h.log())
	for _, r := range h.sna.State().Runs {
		h.Logf("SBC: %+v", r)
	}
	units, _ := systemctl("list-units", "--plain", "--no-legend", "--all", "sendense-nbd-*")
	jobs, _ := systemctl("list-jobs")
	h.Logf("units:\n%s\n%s", units, jobs)
}

// untilReached is a context that ends when the daemon has stopped at its point: it answers nothing then.
func (h *hub) untilReached() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	go func() {
		for ctx.Err() == nil && !h.reached() {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	return ctx, cancel
}

func (h *hub) eventually(what string, done func() bool) {
	h.Helper()
	for began := time.Now(); !done(); systemdtest.Pause(began) {
		if time.Since(began) > patient {
			h.Fatalf("%s: not within %s", what, patient)
		}
	}
}

// with calls the daemon on a connection of its own.
func (h *hub) with(ctx context.Context, f func(*rpc.Client) error) error {
	c, err := rpc.Dial(ctx, h.socket())
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}
