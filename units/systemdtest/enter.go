package systemdtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// enter is the role between owner and command, the stand-in: it joins every namespace of the machine
// and runs the command there as a child, because only children enter a PID namespace. Arguments: the
// host's PID of the machine's PID 1, the machine's name, the cgroup for the command, the command.
func enter() error {
	if len(os.Args) < 5 {
		return errors.New("usage: enter PID MACHINE CGROUP COMMAND [ARGUMENT...]")
	}
	pid, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return fmt.Errorf("pid of the machine: %w", err)
	}
	group, err := os.Open(os.Args[3])
	if err != nil {
		return fmt.Errorf("cgroup of the command: %w", err)
	}
	if err := joinMachine(pid, os.Args[2]); err != nil {
		return err
	}
	code, err := runForwarding(group, os.Args[4:])
	if err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

// joinMachine moves the calling thread into the machine. The working directory keeps its path.
func joinMachine(pid int, name string) error {
	cwd, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("machine %s: its PID 1 has ended: %w", name, err)
	}
	defer unix.Close(pidfd)
	if id, err := readMarker(fmt.Sprintf("/proc/%d/root", pid)); err != nil || id.Name != name {
		return fmt.Errorf("machine %s: process %d is not its PID 1 (any more): %w", name, pid, err)
	}
	// A thread that shares its root and working directory with others cannot join a mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare file system attributes: %w", err)
	}
	// All but the cgroup namespace: a process in it cannot start a child in a cgroup outside of it
	// (nsdelegate in cgroups(7)). The child joins it itself.
	const all = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET
	if err := unix.Setns(pidfd, all); err != nil {
		return fmt.Errorf("join machine %s: %w", name, err)
	}
	if err := unix.Chdir(cwd); err != nil {
		return fmt.Errorf("working directory %s does not exist in the machine; share it with Options.Binds: %w", cwd, err)
	}
	return nil
}

// runForwarding runs argv, passes signals on to it and returns its exit status.
func runForwarding(group *os.File, argv []string) (int, error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals)
	ours, theirs, err := socketPair()
	if err != nil {
		return 0, err
	}
	defer ours.Close()
	cmd := roleCommand(roleCommandInside, argv...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	cmd.Env = machineEnv(os.Environ())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s in the machine: %w", argv[0], err)
	}
	_ = theirs.Close()
	go func() {
		for s := range signals {
			// SIGCHLD is about our child, and SIGURG is used by the Go scheduler.
			if s != syscall.SIGCHLD && s != syscall.SIGURG {
				_ = cmd.Process.Signal(s)
			}
		}
	}()
	// On this thread, which is the one whose death the child is told of. A child that failed before has closed its end.
	if _, err := ours.Read(make([]byte, 1)); err == nil {
		_, _ = ours.Write([]byte{0})
	}
	return exitCode(cmd.Wait())
}

// standInFD is where commandInside finds its end of the socket to its stand-in.
const standInFD = 3

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket to the command: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "command"), os.NewFile(uintptr(fds[1]), "stand-in"), nil
}

// commandInside is the last role before the command: it binds its own life to that of the stand-in, which
// os/exec cannot do across a PID namespace (SysProcAttr.Pdeathsig compares the parent's PID, and a
// parent outside shows as 0), and becomes the command.
func commandInside() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set the parent-death signal: %w", err)
	}
	if err := awaitStandIn(); err != nil {
		return err
	}
	if err := joinCgroupNamespace(); err != nil {
		return err
	}
	path, err := exec.LookPath(os.Args[1])
	if err != nil {
		return err
	}
	return fmt.Errorf("exec %s: %w", path, unix.Exec(path, os.Args[1:], os.Environ()))
}

// awaitStandIn returns when the stand-in has answered, and thus was alive after the parent-death signal was set. The PID of the
// parent does not tell: a process whose parent outside has died gets another parent outside, and both read as 0.
func awaitStandIn() error {
	standIn := os.NewFile(standInFD, "stand-in")
	defer standIn.Close()
	if _, err := standIn.Write([]byte{0}); err != nil {
		return fmt.Errorf("the stand-in ended before the command began: %w", err)
	}
	if _, err := standIn.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("the stand-in ended before the command began: %w", err)
	}
	return nil
}

func joinCgroupNamespace() error {
	fd, err := unix.Open("/proc/1/ns/cgroup", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Setns(fd, unix.CLONE_NEWCGROUP)
	}
	if err != nil {
		return fmt.Errorf("join the machine's cgroup namespace: %w", err)
	}
	return nil
}

// exitCode turns the result of Wait into an exit status, as a shell does.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if err == nil {
		return 0, nil
	}
	if !errors.As(err, &exit) {
		return exitNotStarted, err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// machineEnv removes the variables that point to the host's buses and service manager.
func machineEnv(env []string) []string {
	var kept []string
	for _, e := range env {
		switch name, _, _ := strings.Cut(e, "="); name {
		case "DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS", "XDG_RUNTIME_DIR",
			"NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC":
		default:
			kept = append(kept, e)
		}
	}
	return kept
}
