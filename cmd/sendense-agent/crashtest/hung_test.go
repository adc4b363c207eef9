package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// stopLimit is how long the daemon may take to stop, whatever hangs.
const stopLimit = 10 * time.Second

// hungSteps are the steps of a row in which the second repository of a hub hangs.
type hungSteps struct {
	*crash
	dir     *faultyDir // the second repository
	hang    *hang
	other   *vm // is backed up to the first repository
	late    *vm // is to be backed up to the second one while that hangs
	started int
	answers answers
	done    chan error // the answer to the request that hangs; nil if there is none
	asked   time.Time
}

// withSecond gives the hub a second repository. The policy of a row concerns that one: its table is the last of the configuration.
func (c *crash) withSecond() *hungSteps {
	c.Helper()
	c.second = fmt.Sprintf("nas%d", c.slot)
	path := c.repositories()[c.second]
	must(c.T, os.Mkdir(path, 0o755))
	f, err := os.OpenFile(c.run+"/config.toml", os.O_APPEND|os.O_WRONLY, 0)
	must(c.T, err)
	_, err = fmt.Fprintf(f, "[[repository]]\nid = %q\npath = %q\n", c.second, path)
	must(c.T, errors.Join(err, f.Close()))
	s := &hungSteps{crash: c}
	s.dir, c.uncover = c.faulty(path)
	c.request.RepositoryID = c.second
	s.other, s.late = c.addVM(1), c.addVM(1)
	return s
}

// prepared puts the VMs on record and makes restore points: one of the other VM, and those of the VM of the row.
func (s *hungSteps) prepared(kinds []rpc.BackupType) {
	s.Helper()
	s.boot()
	ctx, cancel := s.limit()
	defer cancel()
	for _, v := range []*vm{s.vm, s.other, s.late} {
		must(s.T, s.put(ctx, v))
	}
	s.completes(rpc.StartRequest{VMName: s.other.record.VMName, BackupType: rpc.Full, RequestID: "other"})
	for i, kind := range kinds {
		s.completes(rpc.StartRequest{VMName: s.vm.record.VMName, BackupType: kind, RepositoryID: s.second, RequestID: fmt.Sprintf("before-%d", i)})
	}
}

// completes makes a backup, which must be completed, and changes the disks.
func (s *hungSteps) completes(r rpc.StartRequest) (id string) {
	s.Helper()
	ctx, cancel := s.limit()
	defer cancel()
	id, err := s.startCooled(ctx, r)
	must(s.T, err)
	s.eventually(id+" has ended", func() bool { return s.now(id).State.Ended() })
	if b := s.now(id); b.State != rpc.Completed {
		s.Fatalf("backup %s is %s: %+v", id, b.State, b.Failure)
	}
	must(s.T, s.scribble())
	return id
}

// asksFor sends the request that will hang.
func (s *hungSteps) asksFor(ask func(ctx context.Context, client *rpc.Client) error) {
	s.done = make(chan error, 1)
	s.asked = time.Now()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		s.done <- s.with(ctx, func(client *rpc.Client) error { return ask(ctx, client) })
	}()
}

// hangs waits until the repository hangs.
func (s *hungSteps) hangs() {
	s.Helper()
	select {
	case <-s.hang.began:
	case <-time.After(patient):
		s.Fatal("the operation that is to hang was not reached")
	}
}

// stuck waits until the agent knows that the repository does not answer.
func (s *hungSteps) stuck() {
	s.Helper()
	s.eventually("the repository is stuck", func() bool { return s.repository().State == "stuck" })
}

// repository is what the agent says of the second repository.
func (s *hungSteps) repository() (r rpc.Repository) {
	s.Helper()
	ctx, cancel := s.limit()
	defer cancel()
	must(s.T, s.with(ctx, func(client *rpc.Client) (err error) {
		r, err = client.GetRepository(ctx, s.second)
		return err
	}))
	return r
}

// mainWorks has a full backup, an incremental, a verification and a restore complete in the first repository.
func (s *hungSteps) mainWorks(phase string) {
	s.Helper()
	began := time.Now()
	vm := s.other.record.VMName
	s.completes(rpc.StartRequest{VMName: vm, BackupType: rpc.Full, RequestID: phase + " full"})
	id := s.completes(rpc.StartRequest{VMName: vm, BackupType: rpc.Incremental, RequestID: phase + " incremental"})
	if r := s.points.verifies(id); r.Result != rpc.VerifyOK {
		s.Errorf("%+v", r)
	}
	r, err := s.restoring.serves(id, true)
	must(s.T, err)
	s.restoring.readsRight(r)
	s.restoring.stops(r.RestoreID)
	s.answers.add("full, incremental, verification, restore in main", phase, time.Since(began))
}

// answered waits for the answer to the request that hangs. It returns nil if there is none within the limit.
func (s *hungSteps) itsAnswer(limit time.Duration) (err error, answered bool) {
	s.Helper()
	if s.done == nil {
		return nil, true
	}
	select {
	case err = <-s.done:
		s.done = nil
		return err, true
	case <-time.After(limit):
		return nil, false
	}
}

// letsGo cancels the backup, whose VM can then be backed up to the first repository.
func (s *hungSteps) letsGo(id string) {
	s.Helper()
	s.asksOne("stuck", question{request: "backup.cancel", ask: func(ctx context.Context, client *rpc.Client) error {
		_, err := client.CancelBackup(ctx, id)
		return err
	}})
	began := time.Now()
	ctx, cancel := s.limit()
	defer cancel()
	var err error
	s.eventually("the VM can be backed up again", func() bool {
		_, err = s.start(ctx, rpc.StartRequest{VMName: s.vm.record.VMName, BackupType: rpc.Full, RequestID: "elsewhere " + strconv.FormatInt(time.Now().UnixNano(), 10)})
		var said *rpc.Error
		return err == nil || !errors.As(err, &said) || said.Data.Reason != rpc.ReasonCoolingDown && said.Data.Reason != rpc.ReasonBusy &&
			said.Data.Reason != rpc.ReasonBackupInProgress
	})
	must(s.T, err)
	took := time.Since(began)
	s.answers.add("canceled backup lets its VM go", "stuck", took)
	if took > 10*time.Second+busy {
		s.Errorf("the VM of a canceled backup could be backed up only after %s", took)
	}
	list, err := s.backups(ctx, s.vm)
	must(s.T, err)
	s.untilState(list[0].BackupID, rpc.Completed)
}

// restarts stops the daemon and starts the next one, while the repository hangs.
func (s *hungSteps) restarts() {
	s.Helper()
	began := time.Now()
	late := time.AfterFunc(stopLimit+busy, func() { // the log tells then what it waits for
		pid, _ := systemctl("show", "--property=MainPID", "--value", serviceOf(s.slot))
		jobs, _ := systemctl("list-jobs")
		s.Logf("the daemon does not stop: PID %s, jobs: %s", pid, jobs)
		_, _ = systemctl("kill", "--signal=QUIT", serviceOf(s.slot))
	})
	s.halt()
	late.Stop()
	took := time.Since(began)
	s.answers.add("systemctl stop", "stuck", took)
	if took > stopLimit+busy {
		s.Errorf("the daemon stopped only after %s", took)
	}
	began = time.Now()
	s.boot()
	s.answers.add("start until it answers", "restarted", time.Since(began))
}

// recovers ends the hang. The repository answers then, a backup there completes, and no process of before is left.
func (s *hungSteps) recovers() {
	s.Helper()
	began := time.Now()
	s.hang.release()
	s.eventually("the repository answers", func() bool { r := s.repository(); return r.State != "stuck" && r.Error == "" })
	s.answers.add("answers again", "released", time.Since(began))
	s.asks("released", s.everyRequest("released")[:7])
	s.completes(rpc.StartRequest{VMName: s.late.record.VMName, BackupType: rpc.Full, RepositoryID: s.second, RequestID: "late"})
	s.eventually("nothing of merges and restores is left", func() bool {
		path := s.repositories()[s.second]
		merges, err := filepath.Glob(path + "/*/.[mo]*-*")
		must(s.T, err)
		_, err = os.Lstat(path + "/.restore")
		return len(merges) == 0 && errors.Is(err, os.ErrNotExist)
	})
	s.eventually("one process of the repository is left", func() bool { return len(s.processes(s.second)) == 1 })
}

// processes lists the units of the processes of a repository.
func (s *hungSteps) processes(id string) (units []string) {
	s.Helper()
	out, err := systemctl("list-units", "--plain", "--no-legend", "--all", "--type=service", "sendense-repository-"+id+"-*")
	must(s.T, err)
	for line := range strings.Lines(out) {
		units = append(units, strings.Fields(line)[0])
	}
	return units
}

// A usage is what a process holds of the kernel's.
type usage struct{ Threads, Descriptors, Connections int }

func (s *hungSteps) usageOf(unit string) (u usage) {
	s.Helper()
	pid, err := systemctl("show", "--property=MainPID", "--value", unit)
	must(s.T, err)
	status, err := os.ReadFile("/proc/" + pid + "/status")
	must(s.T, err)
	for line := range strings.Lines(string(status)) {
		if n, found := strings.CutPrefix(line, "Threads:"); found {
			u.Threads, err = strconv.Atoi(strings.TrimSpace(n))
			must(s.T, err)
		}
	}
	open, err := filepath.Glob("/proc/" + pid + "/fd/*")
	must(s.T, err)
	u.Descriptors = len(open)
	for _, fd := range open {
		if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, "socket:") { // it may be closed by now
			u.Connections++
		}
	}
	return u
}

// A poll leaves nothing behind: neither threads nor descriptors nor connections.
func (s *hungSteps) polls(times int) {
	s.Helper()
	const few = 8 // what another request may hold at that moment
	units := append(s.processes(s.second), serviceOf(s.slot))
	before := map[string]usage{}
	for _, u := range units {
		before[u] = s.usageOf(u)
	}
	ctx, cancel := s.limit()
	defer cancel()
	began, longest := time.Now(), time.Duration(0)
	for range times {
		asked := time.Now()
		must(s.T, s.with(ctx, func(client *rpc.Client) error {
			_, err := client.Status(ctx)
			return err
		}))
		longest = max(longest, time.Since(asked))
	}
	s.answers.add(fmt.Sprintf("agent.status, the longest of %d", times), "stuck", longest)
	s.answers.add(fmt.Sprintf("agent.status, the average of %d", times), "stuck", time.Since(began)/time.Duration(times))
	for _, unit := range units {
		var now usage
		grown := func() bool {
			now = s.usageOf(unit)
			b := before[unit]
			return now.Threads > b.Threads+few || now.Descriptors > b.Descriptors+few || now.Connections > b.Connections+few
		}
		for deadline := time.Now().Add(busy); grown() && time.Now().Before(deadline); { // the last connections are being closed
			time.Sleep(20 * time.Millisecond)
		}
		if grown() {
			s.Errorf("%s held %+v, and after %d polls %+v", unit, before[unit], times, now)
		}
		s.Logf("%s: %+v, after %d polls %+v", unit, before[unit], times, now)
	}
}
