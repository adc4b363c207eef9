package systemdtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stageEnv is the variable with the stage's orders, as JSON.
const stageEnv = "SYSTEMDTEST_STAGE"

// supervise is the role that owns the machine's cgroup and scratch directory: it boots the machine,
// waits for the end of its owner or of the machine, and removes everything.
func supervise() error {
	// It must survive what ends its owner: signals of a terminal, a closed output pipe.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	in := json.NewDecoder(os.Stdin)
	var req request
	if err := in.Decode(&req); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	ownerGone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ownerGone)
	}()

	sweep()
	res, err := claim()
	if err != nil {
		return json.NewEncoder(os.Stdout).Encode(reply{Error: err.Error()})
	}
	machineGone := make(chan struct{})
	pid, err := res.boot(req, ownerGone, machineGone)
	rep := reply{Name: res.name, PID: pid, Cgroup: res.cgroup}
	if err != nil {
		rep.Error = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(rep)
	if err == nil {
		select {
		case <-ownerGone:
		case <-machineGone:
		}
	}
	return res.release()
}

// boot starts the stage, which becomes the machine's PID 1, and waits until the machine is up.
func (r *resources) boot(req request, ownerGone <-chan struct{}, machineGone chan struct{}) (int, error) {
	ready, err := listenNotify(filepath.Join(r.scratch, notifyName))
	if err != nil {
		close(machineGone)
		return 0, err
	}
	defer ready.Close()
	stage, err := r.startStage(req)
	if err != nil {
		close(machineGone)
		return 0, err
	}
	r.stage = stage
	go func() {
		_ = stage.Wait()
		close(machineGone)
	}()
	booted := make(chan error, 1)
	go func() { booted <- awaitReady(ready, stage.Process.Pid, req.Options) }()
	select {
	case err = <-booted:
	case <-machineGone:
		err = errors.New("its PID 1 ended during the boot")
	case <-ownerGone:
		err = errors.New("its owner ended or gave up")
	}
	if err != nil {
		err = fmt.Errorf("%w%s", err, r.bootLog())
	}
	return stage.Process.Pid, err
}

func (r *resources) startStage(req request) (*exec.Cmd, error) {
	orders, err := json.Marshal(stageOrders{
		Marker:      marker{Name: r.name, Scratch: r.disk()},
		Binds:       append(req.Binds, r.scratch),
		Root:        req.Options.Root,
		Sysusers:    req.Options.Sysusers,
		FullBoot:    req.Options.FullBoot,
		HostNetwork: req.Options.HostNetwork,
		Notify:      filepath.Join(r.scratch, notifyName),
	})
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(r.scratch, bootLogName))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	group, err := os.Open(filepath.Join(r.cgroup, machineGroup))
	if err != nil {
		return nil, err
	}
	defer group.Close()
	stage := roleCommand(roleStage)
	stage.Env = append(os.Environ(), stageEnv+"="+string(orders))
	stage.Stdout, stage.Stderr = log, log
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if !req.Options.HostNetwork {
		flags |= unix.CLONE_NEWNET
	}
	stage.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  flags,
		Pdeathsig:   syscall.SIGKILL,
		Setsid:      true,
		UseCgroupFD: true,
		CgroupFD:    int(group.Fd()),
	}
	if err := stage.Start(); err != nil {
		return nil, fmt.Errorf("start in new namespaces (in a container, that needs a privileged one): %w", err)
	}
	return stage, nil
}

// bootLog returns what the stage and PID 1 wrote, for an error message.
func (r *resources) bootLog() string {
	data, _ := os.ReadFile(filepath.Join(r.scratch, bootLogName))
	text := strings.TrimSpace(string(data))
	if text == "" {
		return ""
	}
	if len(text) > 4096 {
		text = "..." + text[len(text)-4096:]
	}
	return "\n" + text
}

// waitFor calls check every 2 ms until it returns true or the limit is reached.
func waitFor(limit time.Duration, check func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if check() {
			return true
		}
	}
	return check()
}
