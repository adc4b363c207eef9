package installed_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

const typedPassphrase = "correct horse battery"

// TestPassphraseOnATerminal: a typed passphrase protects the secrets of an export and opens them again. It is not shown, and a mistake
// changes nothing.
func TestPassphraseOnATerminal(t *testing.T) {
	a := newAppliance(t)
	file := a.configured()
	export := func(first, second string) *typist {
		p := a.terminal("sendense-agent", "export-settings", "--secrets", "-o", file)
		p.types("passphrase for the settings (not shown)", first)
		if second != "" {
			p.types("the same again (not shown)", second)
		}
		return p
	}
	export(typedPassphrase+"\n", typedPassphrase+"x\n").fails("the two passphrases differ")
	export("short\n", "short\n").fails("shorter than 12 characters")
	export("\x03", "").fails("no passphrase: interrupted")
	export("\x04", "").fails("no passphrase: the input ended")
	if _, err := os.Stat(file); err == nil {
		t.Errorf("%s exists", file)
	}
	export(typedPassphrase+"\n", typedPassphrase+"\n").succeeds("1 key or password encrypted")

	a.run("systemctl", "stop", "sendense-agent.socket", "sendense-agent.service")
	hubtest.Must(t, os.Remove(credential))
	before := a.state()
	open := func(answer string) *typist {
		p := a.terminal("sendense-agent", "import-settings", file)
		p.types("passphrase of the settings (not shown)", answer)
		return p
	}
	open(typedPassphrase + "x\n").fails("the passphrase is wrong")
	open("\x03").fails("no passphrase: interrupted")
	if a.state() != before {
		t.Errorf("something was changed:\n%s", a.state())
	}
	open(typedPassphrase + "\n").succeeds("done: 1 setting changed")
	a.holds(credential, secret)
}

// TestPassphraseWithoutATerminal: a command that cannot ask says what to use.
func TestPassphraseWithoutATerminal(t *testing.T) {
	a := newAppliance(t)
	file := a.configured()
	out, err := exec.Command("setsid", "--wait", "sendense-agent", "export-settings", "--secrets", "-o", file).CombinedOutput()
	if err == nil {
		t.Error("it succeeds")
	}
	a.says(string(out), "there is no terminal", "--passphrase-fd")
}

// TestSettingsOfASealedPassword: a password that only systemd can decrypt is part of an export, and comes back. One that was sealed
// under another name or is damaged is an error that names the file.
func TestSettingsOfASealedPassword(t *testing.T) {
	a := newAppliance(t)
	file := a.configured()
	sealed := filepath.Join("/etc/credstore.encrypted", filepath.Base(credential))
	hubtest.Must(t, os.MkdirAll(filepath.Dir(sealed), 0o700))
	t.Cleanup(func() { _ = os.Remove(sealed) })
	seal := func(name string) {
		_ = os.Remove(sealed)
		a.run("systemd-creds", "encrypt", "--with-key=host", "--name="+name, credential+".plain", sealed)
	}
	hubtest.Must(t, os.Rename(credential, credential+".plain"))
	export := []string{"export-settings", "--secrets", "--passphrase-fd", "0", "-o", file}

	seal("another")
	a.says(a.piped(typedPassphrase, export...), "systemd-creds decrypt "+sealed)
	hubtest.Must(t, os.WriteFile(sealed, []byte("not sealed"), 0o600))
	a.says(a.piped(typedPassphrase, export...), "systemd-creds decrypt "+sealed)
	if _, err := os.Stat(file); err == nil {
		t.Errorf("%s exists", file)
	}

	seal(filepath.Base(credential))
	a.says(a.piped(typedPassphrase, export...), "1 key or password encrypted")
	hubtest.Must(t, os.Remove(sealed))
	a.run("systemctl", "stop", "sendense-agent.socket", "sendense-agent.service")
	a.says(a.piped(typedPassphrase, "import-settings", "--passphrase-fd", "0", file), "done: 1 setting changed")
	a.holds(credential, secret)
}

// configured sets the appliance up, with a password. It returns the path of a file that does not exist.
func (a *appliance) configured() (file string) {
	a.Helper()
	a.addVM("web-01", hubtest.DiskSize)
	out, err := a.setup(secret, append([]string{"--yes", "--sna-url", hubtest.SNAURL}, all...)...)
	if err != nil {
		a.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(a.TempDir(), "settings.json")
}

// piped runs a command of the agent with a secret on its standard input, and returns what it says.
func (a *appliance) piped(secret string, args ...string) string {
	a.Helper()
	cmd := exec.CommandContext(a.Context(), "sendense-agent", args...)
	cmd.Stdin = strings.NewReader(secret)
	out, _ := cmd.CombinedOutput()
	return string(out)
}

// holds fails the test unless a file has that content, and only its owner may read it.
func (a *appliance) holds(path, want string) {
	a.Helper()
	got, err := os.ReadFile(path)
	hubtest.Must(a.T, err)
	info, err := os.Stat(path)
	hubtest.Must(a.T, err)
	if strings.TrimSuffix(string(got), "\n") != want || info.Mode().Perm() != 0o600 {
		a.Errorf("%s: %q, %s", path, got, info.Mode())
	}
}

func (p *typist) fails(text string) {
	p.Helper()
	if err := <-p.done; err == nil {
		p.Error("it succeeds")
	}
	p.ended(text)
}

func (p *typist) succeeds(text string) {
	p.Helper()
	if err := <-p.done; err != nil {
		p.Error(err)
	}
	p.ended(text)
}

// ended waits for the last words. The screen has nothing that was typed, and the terminal echoes again.
func (p *typist) ended(text string) {
	p.Helper()
	p.shows(text)
	for _, hidden := range []string{typedPassphrase, strings.TrimSpace(secret), "^C"} {
		if strings.Contains(p.screen.String(), hidden) {
			p.Errorf("the screen shows %q:\n%s", hidden, p.screen.String())
		}
	}
	modes, err := unix.IoctlGetTermios(int(p.master.Fd()), unix.TCGETS)
	if err != nil || modes.Lflag&unix.ECHO == 0 {
		p.Errorf("the terminal has no echo: %v", err)
	}
}
