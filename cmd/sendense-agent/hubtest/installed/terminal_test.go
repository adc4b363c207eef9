package installed_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

// A typist runs a command on a terminal.
type typist struct {
	*appliance
	master *os.File
	screen hubtest.Output
	done   chan error
}

// terminal starts a command on a terminal of its own.
func (a *appliance) terminal(command string, args ...string) *typist {
	a.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	hubtest.Must(a.T, err)
	a.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	hubtest.Must(a.T, err)
	hubtest.Must(a.T, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	hubtest.Must(a.T, err)
	a.Cleanup(func() { tty.Close() })
	cmd := exec.CommandContext(a.Context(), command, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	hubtest.Must(a.T, cmd.Start())
	p := &typist{appliance: a, master: master, done: make(chan error, 1)}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			_, _ = p.screen.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	go func() { p.done <- cmd.Wait() }()
	return p
}

// types waits for the end of what is on the screen, and types an answer.
func (p *typist) types(question, answer string) {
	p.Helper()
	p.eventually("the question "+question, func() bool {
		text := p.screen.String()
		return strings.Contains(text[strings.LastIndex(text, "\n")+1:], question)
	})
	_, err := p.master.WriteString(answer)
	hubtest.Must(p.T, err)
}

// shows waits until the screen has a text: it is drawn later than it is written.
func (p *typist) shows(text string) {
	p.Helper()
	p.eventually("the screen shows "+text, func() bool { return strings.Contains(p.screen.String(), text) })
}

// TestSetupOnATerminal: it asks for everything, does not show the password, and writes only after a confirmation.
func TestSetupOnATerminal(t *testing.T) {
	a := newAppliance(t)
	a.addVM("web-01", hubtest.DiskSize)
	before := a.state()

	p := a.terminal("sendense-agent", "setup")
	p.types("Directory of the restore points [/srv/backup]", "\n")
	p.types("Host name of the vCenter", "\n") // it asks again
	p.types("Host name of the vCenter", "vcenter.example.com\n")
	p.types("User of the vCenter", "backup@vsphere.local\n")
	p.types("Datacenter", "DC1\n")
	p.types("URL of the SNA, at this end of the tunnel [http://127.0.0.1:9081]", "\n")
	p.types("Password of backup@vsphere.local (not shown)", secret+"\n")
	p.types("Write this, and restart the agent?", "n\n")
	var exit *exec.ExitError
	if err := <-p.done; !errors.As(err, &exit) || exit.ExitCode() != 1 || a.state() != before {
		t.Errorf("%v: %s\n%s", err, p.screen.String(), a.state())
	}
	p.shows("not confirmed\r\nnothing was written")

	// The flags are not asked for.
	p = a.terminal("sendense-agent", append([]string{"setup"}, all...)...)
	p.types("URL of the SNA", "\n")
	p.types("Password", secret+"\n")
	p.types("Write this, and restart the agent?", "y\n")
	if err := <-p.done; err != nil {
		t.Errorf("%v: %s", err, p.screen.String())
	}
	if strings.Contains(p.screen.String(), strings.TrimSpace(secret)) {
		t.Errorf("the screen shows the password:\n%s", p.screen.String())
	}
	p.shows("Ready:")
}

// TestSetupInterrupted: Ctrl-C and the end of the input at any question write nothing, and leave the terminal with its echo.
func TestSetupInterrupted(t *testing.T) {
	a := newAppliance(t)
	before := a.state()
	for _, key := range []string{"\x03", "\x04"} {
		for n := range 2 {
			p := a.terminal("sendense-agent", append([]string{"setup", "--sna-url", hubtest.SNAURL}, all...)...)
			if n == 1 {
				p.types("Password", secret+"\n")
				p.types("Write this", key)
			} else {
				p.types("Password", key)
			}
			err := <-p.done
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 || a.state() != before {
				t.Errorf("%q at question %d: %v: %s\n%s", key, n, err, p.screen.String(), a.state())
			}
			p.shows("nothing was written")
			modes, err := unix.IoctlGetTermios(int(p.master.Fd()), unix.TCGETS)
			if err != nil || modes.Lflag&unix.ECHO == 0 {
				t.Errorf("%q at question %d: the terminal has no echo: %v", key, n, err)
			}
		}
	}
}
