package systemdtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// patience bounds every wait, for a host that is very busy or slow; a boot usually takes a quarter of a second.
const patience = 2 * time.Minute

// Machine is a running machine. Close it, or end the process: in both cases nothing is left.
type Machine struct {
	// Name is unique on the host; the machine's cgroup and scratch directory have it.
	Name string
	// PID is the host's PID of the machine's PID 1.
	PID int

	supervisor *exec.Cmd
	hold       io.Closer // a pipe: when it closes, the supervisor cleans up
	cgroup     string
	entry      *os.File // the cgroup of the commands' stand-ins
	close      sync.Once
	closeErr   error
}

// request is the owner's request to its supervisor, as JSON on standard input.
type request struct {
	Options Options
	Binds   []string
}

// reply is the supervisor's answer, as JSON on standard output: the machine, or an error.
type reply struct {
	Error  string
	Name   string
	PID    int
	Cgroup string
}

// marker is the content of markerFile.
type marker struct {
	Name    string
	Scratch string // a directory on a real disk of the host, at the same path in the machine
}

func readMarker(root string) (marker, error) {
	var m marker
	data, err := os.ReadFile(filepath.Join(root, markerFile))
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(data, &m)
}

// Boot starts a machine and returns when its system bus answers and its default target is reached.
// The context bounds only the boot.
func Boot(ctx context.Context, o Options) (*Machine, error) {
	if err := checkHost(); err != nil {
		return nil, err
	}
	binds, err := o.bindPaths()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()

	supervisor := roleCommand(roleSupervisor)
	supervisor.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	supervisor.Dir = "/"
	stdin, err := supervisor.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := supervisor.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := supervisor.Start(); err != nil {
		return nil, fmt.Errorf("start the machine's supervisor: %w", err)
	}
	m := &Machine{supervisor: supervisor, hold: stdin}
	stop := context.AfterFunc(ctx, func() { _ = stdin.Close() })
	err = m.handshake(stdin, stdout, request{Options: o, Binds: binds})
	if !stop() && err != nil {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("boot a machine: %w", err), m.Close())
	}
	return m, nil
}

func (m *Machine) handshake(in io.Writer, out io.Reader, req request) error {
	if err := json.NewEncoder(in).Encode(req); err != nil {
		return fmt.Errorf("send the request to the supervisor: %w", err)
	}
	var rep reply
	if err := json.NewDecoder(out).Decode(&rep); err != nil {
		return fmt.Errorf("the supervisor did not answer: %w", err)
	}
	if rep.Error != "" {
		return errors.New(rep.Error)
	}
	m.Name, m.PID, m.cgroup = rep.Name, rep.PID, rep.Cgroup
	entry, err := os.Open(filepath.Join(rep.Cgroup, entryGroup))
	m.entry = entry
	return err
}

// Command prepares a command to run inside the machine, as root, in all its namespaces. Set the
// fields of the result as for any command; Dir, if set, is a path of the host that the machine shares.
// Its process is a stand-in outside the machine: it forwards signals to the command and exits with the
// command's status, or with 128 plus the number of the signal that ended the command. If the stand-in
// is killed, so is the command.
func (m *Machine) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, selfExe)
	group := filepath.Join(m.cgroup, machineGroup, commandsGroup)
	cmd.Args = append([]string{roleEnter, strconv.Itoa(m.PID), m.Name, group, name}, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(m.entry.Fd())}
	return cmd
}

// Close kills every process of the machine and removes what it left on the host. It may be called
// more than once.
func (m *Machine) Close() error {
	m.close.Do(func() {
		if m.entry != nil {
			_ = m.entry.Close()
		}
		_ = m.hold.Close()
		if err := m.supervisor.Wait(); err != nil {
			m.closeErr = fmt.Errorf("clean up after machine %s: supervisor: %w", m.Name, err)
		}
	})
	return m.closeErr
}
