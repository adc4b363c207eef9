package installed_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

const secret = "s3cret with blanks "

// setup runs the command without a terminal. The password, if any, is on descriptor 3.
func (a *appliance) setup(password string, args ...string) (out string, err error) {
	a.Helper()
	ctx, cancel := context.WithTimeout(a.Context(), hubtest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/sendense-agent", append([]string{"setup"}, args...)...)
	if password != "" {
		r, w, err := os.Pipe()
		hubtest.Must(a.T, err)
		fmt.Fprintln(w, password)
		w.Close()
		defer r.Close()
		cmd.ExtraFiles = []*os.File{r}
		cmd.Args = append(cmd.Args, "--password-fd", "3")
	}
	text, err := cmd.CombinedOutput()
	if strings.Contains(string(text), secret) {
		a.Errorf("the output shows the password:\n%s", text)
	}
	return string(text), err
}

var all = []string{
	"--repository", "/srv/backup", "--vcenter", "vcenter.example.com", "--user", "backup@vsphere.local", "--datacenter", "DC1",
}

// state is every file that the setup may write, with its mode and content.
func (a *appliance) state() string {
	return a.output("sh", "-c", "find /etc/sendense-agent /etc/credstore /srv -printf '%M %u:%g %p\n' | sort; cat /etc/sendense-agent/* /etc/credstore/*")
}

// says fails the test unless the output has every text.
func (a *appliance) says(out string, texts ...string) {
	a.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			a.Errorf("does not say %q:\n%s", text, out)
		}
	}
}

// TestSetup: after one command without a terminal the first backup works. A second run writes nothing.
func TestSetup(t *testing.T) {
	a := newAppliance(t)
	a.addVM("web-01", hubtest.DiskSize, hubtest.DiskSize)
	before := a.state()

	out, err := a.setup(secret, append(all, "--dry-run")...)
	hubtest.Must(t, err)
	a.says(out, `+path = "/srv/backup"`, "the password will be written", "nothing was written", "healthy")
	if a.state() != before {
		t.Errorf("--dry-run wrote:\n%s", a.state())
	}

	out, err = a.setup(secret, all...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	a.says(out, "Done: put the VMs of main on record", "1 VM on record", "sendensectl backup start web-01 --type full --wait")
	for path, mode := range map[string]os.FileMode{configFile: 0o644, credential: 0o600, "/etc/credstore": 0o700, "/srv/backup": 0o755} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want mode %o", path, info, err, mode)
		}
	}
	text, err := os.ReadFile(configFile)
	hubtest.Must(t, err)
	for line := range strings.Lines(config.Example()) { // the comments stay
		if strings.HasPrefix(line, "# ") && !strings.Contains(string(text), line) {
			t.Errorf("the configuration has lost %q", line)
		}
	}
	if password, err := os.ReadFile(credential); err != nil || string(password) != secret+"\n" {
		t.Errorf("%q %v", password, err)
	}
	a.run("sendensectl", "backup", "start", "web-01", "--type", "full", "--wait")

	before = a.state()
	out, err = a.setup("")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	a.says(out, "has all of this already", "the password stays as it is", "Ready:")
	if a.state() != before {
		t.Errorf("the second run wrote:\n%s", a.state())
	}
}

// TestSetupChanges: a changed value is shown, the old file is kept, and what the administrator wrote stays.
func TestSetupChanges(t *testing.T) {
	a := newAppliance(t)
	a.addVM("web-01", hubtest.DiskSize)
	hand := "# By hand.\n[limits]\nmax_backups = 3 # enough\n[[repository]]\nid = \"main\"\npath = \"/srv/backup\"\n[vcenter.main]\nhost = \"old.example.com\"\nuser = \"u\"\npassword_credential = \"own-name\"\n"
	hubtest.Must(t, os.WriteFile(configFile, []byte(hand), 0o640))
	out, err := a.setup(secret, all...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	a.says(out, `-host = "old.example.com"`, `+host = "vcenter.example.com"`)
	text, err := os.ReadFile(configFile)
	hubtest.Must(t, err)
	a.says(string(text), "# By hand.", "max_backups = 3 # enough", `password_credential = "own-name"`, `datacenter = "DC1"`)
	kept, err := filepath.Glob(configFile + ".before-*")
	hubtest.Must(t, err)
	if len(kept) != 1 {
		t.Fatalf("kept: %v", kept)
	}
	if was, err := os.ReadFile(kept[0]); err != nil || string(was) != hand {
		t.Errorf("%q %v", was, err)
	}
	if info, err := os.Stat("/etc/credstore/own-name"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	hubtest.Must(t, os.WriteFile("/srv/backup/something", nil, 0o644))
	before := a.state()
	out, err = a.setup("", "--repository", "/srv/other")
	if err == nil || a.state() != before {
		t.Errorf("a repository that holds restore points was moved: %v\n%s", err, out)
	}
	a.says(out, "is not empty", "Move a repository", "nothing was written")
}

// TestSetupRefuses: everything is checked before anything is written, and the message says what to do.
func TestSetupRefuses(t *testing.T) {
	a := newAppliance(t)
	hubtest.Must(t, os.Mkdir("/srv/open", 0o777))
	hubtest.Must(t, os.Chmod("/srv/open", 0o777))
	hubtest.Must(t, os.WriteFile("/srv/file", nil, 0o644))
	before := a.state()
	for _, c := range []struct {
		password string
		args     []string
		want     []string
	}{
		{"", nil, []string{"--repository, --vcenter, --user, --datacenter, --password-fd", "nothing was written"}},
		{"", all, []string{"missing: --password-fd"}},
		{secret, append(all, "--repository", "/etc/backup"), []string{"the system owns it"}},
		{secret, append(all, "--repository", "/srv"), []string{"a directory of its own"}},
		{secret, append(all, "--repository", "backup"), []string{"want an absolute path"}},
		{secret, append(all, "--repository", "/srv/file/x"), []string{"not a directory"}},
		{secret, append(all, "--repository", "/srv/open"), []string{"chmod o-w /srv/open"}},
		{secret, append(all, "--sna-url", "https://sna:1"), []string{"want http://HOST:PORT"}},
		{secret, append(all, "--datacenter", "/DC1/vm"), []string{"--datacenter"}},
		{secret, append(all, "--vcenter", "a b", "--repository-id", "-x"), []string{"vcenter.main.host", "repository number 1"}},
		{"", append(all, "--password-fd", "7"), []string{"--password-fd 7"}},
		{secret, append(all, "--config", "/tmp/x"), []string{"/etc/sendense-agent/config.toml only"}},
	} {
		out, err := a.setup(c.password, c.args...)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%q: %v\n%s", c.args, err, out)
		}
		a.says(out, c.want...)
		if a.state() != before {
			t.Fatalf("%q wrote:\n%s", c.args, a.state())
		}
	}
	hubtest.Must(t, os.WriteFile(configFile, []byte("nonsense = 1\n"), 0o644))
	out, err := a.setup(secret, all...)
	if err == nil {
		t.Errorf("a wrong configuration was accepted:\n%s", out)
	}
	a.says(out, "nonsense", "Correct them")
}

// TestSetupContinues: without the SNA everything is written, the failed step and the rest are named, and a second run completes it.
func TestSetupContinues(t *testing.T) {
	a := newAppliance(t)
	a.run("systemctl", "stop", "sna")
	out, err := a.setup(secret, all...)
	if err == nil {
		t.Fatalf("it succeeded without the SNA:\n%s", out)
	}
	a.says(out, "Note: no backup can run before the SNA answers", "Done: make /srv/backup; write the password", "Not done: check the host (doctor); put the VMs of main on record",
		"run sendense-agent setup again")
	a.startSNA()
	a.addVM("web-01", hubtest.DiskSize)
	if out, err = a.setup(""); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	vms, err := a.dial().ListVMs(t.Context(), rpc.VMQuery{})
	hubtest.Must(t, err)
	if len(vms.VMs) != 1 {
		t.Errorf("on record: %+v", vms.VMs)
	}
}
