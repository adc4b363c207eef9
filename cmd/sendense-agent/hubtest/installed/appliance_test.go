package installed_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v2"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/cmd/internal/testprogram"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/units/systemdtest"
)

const (
	root       = "../../../.." // of the source tree
	configFile = "/etc/sendense-agent/config.toml"
	credential = "/etc/credstore/vcenter-main"
)

// An appliance is a machine with the package on it, as it is right after the installation, and an SNA.
type appliance struct {
	*testing.T
	dir string // on a real disk
}

// newAppliance installs the package and starts the SNA. Everything is gone when the test ends.
func newAppliance(t *testing.T) *appliance {
	t.Helper()
	a := &appliance{T: t, dir: systemdtest.DiskDir(t)}
	t.Cleanup(a.remove)
	a.install()
	hubtest.Must(t, os.MkdirAll("/srv", 0o755))
	a.bind(filepath.Join(a.dir, "srv"), "/srv")
	a.startSNA()
	return a
}

func (a *appliance) startSNA() {
	a.Helper()
	a.run("systemd-run", "--quiet", "--unit=sna", "--", testprogram.Path("snasim"), "--old-contract",
		"--callback", "http://127.0.0.1:8082", "--dir", a.dir)
	a.eventually("the SNA listens", func() bool {
		r, err := http.Get(hubtest.SNAURL + "/api/v1/health")
		if err == nil {
			r.Body.Close()
		}
		return err == nil
	})
}

// bind puts a directory of the disk in the place of another one.
func (a *appliance) bind(from, to string) {
	a.Helper()
	hubtest.Must(a.T, os.MkdirAll(from, 0o755))
	a.run("mount", "--bind", from, to)
	a.Cleanup(func() { a.run("umount", "-R", "-l", to) })
}

// install puts the files of the package in their places and does what its script does (packaging/deb/postinst).
func (a *appliance) install() {
	a.Helper()
	text, err := os.ReadFile(filepath.Join(root, "nfpm.yaml"))
	hubtest.Must(a.T, err)
	var pkg struct {
		Contents []struct {
			Src, Dst, Type, Packager string
			FileInfo                 struct{ Mode os.FileMode } `yaml:"file_info"`
		}
	}
	hubtest.Must(a.T, yaml.Unmarshal(text, &pkg))
	n := 0
	for _, f := range pkg.Contents {
		src := filepath.Join(root, f.Src)
		switch {
		case strings.HasPrefix(f.Src, "dist/stage/${PACKAGE_ARCH}/"):
			src = testprogram.Path(filepath.Base(f.Src))
		case strings.HasPrefix(f.Src, "dist/") || f.Packager == "rpm" || f.Type == "tree":
			continue
		}
		content, err := os.ReadFile(src)
		hubtest.Must(a.T, err)
		hubtest.Must(a.T, os.MkdirAll(filepath.Dir(f.Dst), 0o755))
		hubtest.Must(a.T, os.WriteFile(f.Dst, content, 0o644))
		hubtest.Must(a.T, os.Chmod(f.Dst, f.FileInfo.Mode))
		// This machine looks for units and generators elsewhere than a whole distribution does.
		for usual, here := range map[string]string{"/usr/lib/systemd/system": "/run/systemd/system", "/usr/lib/systemd/system-generators": systemdtest.GeneratorDir} {
			if filepath.Dir(f.Dst) == usual {
				hubtest.Must(a.T, os.MkdirAll(here, 0o755))
				hubtest.Must(a.T, os.WriteFile(filepath.Join(here, filepath.Base(f.Dst)), content, f.FileInfo.Mode))
			}
		}
		n++
	}
	if n < 11 {
		a.Fatalf("nfpm.yaml: only %d files to install", n)
	}
	a.run("systemd-sysusers", "/usr/lib/sysusers.d/sendense-agent.conf")
	a.run("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/sendense-agent.conf")
	a.run("systemctl", "daemon-reload")
	a.run("systemctl", "start", "sendense-agent.socket", "sendense-agent.service")
}

// remove ends everything, and removes what the next test must not find.
func (a *appliance) remove() {
	if a.Failed() {
		a.Logf("the journal:\n%s", hubtest.Journalctl(a.T, "-u", "sendense-agent*", "-u", "sna", "-n", "80"))
	}
	_ = exec.Command("systemctl", "stop", "sendense-agent.socket", "sendense-agent-http.socket", "sendense-agent.service").Run()
	_ = exec.Command("systemctl", "stop", "sendense-nbd.slice", "sna.service").Run()
	_ = exec.Command("systemctl", "reset-failed").Run()
	for _, path := range []string{"/etc/sendense-agent", "/etc/credstore", "/var/lib/sendense-agent"} {
		hubtest.Must(a.T, os.RemoveAll(path))
	}
}

func (a *appliance) run(name string, args ...string) {
	a.Helper()
	hubtest.Run(a.T, name, args...)
}

// output is what a command says, whatever its exit code is.
func (a *appliance) output(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput()
	return string(out)
}

func (a *appliance) eventually(what string, done func() bool) {
	a.Helper()
	for deadline := time.Now().Add(hubtest.Patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.Fatalf("%s: not within %s", what, hubtest.Patience)
		}
	}
}

// addVM makes a VM in vCenter, with disks of random data.
func (a *appliance) addVM(name string, sizes ...int64) {
	a.Helper()
	vm := snatest.VM{Name: name, Path: "/DC1/vm/" + name}
	for i, size := range sizes {
		source := filepath.Join(a.dir, fmt.Sprintf("%s-%d.raw", name, i))
		data := make([]byte, size)
		_, _ = rand.Read(data)
		hubtest.Must(a.T, os.WriteFile(source, data, 0o600))
		vm.Disks = append(vm.Disks, snatest.Disk{Key: 2000 + i, UnitNumber: i, Source: source})
	}
	a.setVM(vm)
}

func (a *appliance) setVM(vm snatest.VM) {
	a.Helper()
	text, err := json.Marshal(vm)
	hubtest.Must(a.T, err)
	r, err := http.Post(hubtest.SNAURL+"/sim/v1/vm", "application/json", bytes.NewReader(text))
	hubtest.Must(a.T, err)
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(r.Body)
		a.Fatalf("simulator: %s %s", r.Status, said)
	}
}

// dial connects to the daemon.
func (a *appliance) dial() *rpc.Client {
	a.Helper()
	ctx, cancel := context.WithTimeout(a.Context(), hubtest.Patience)
	defer cancel()
	c, err := rpc.Dial(ctx, rpc.DefaultSocket)
	hubtest.Must(a.T, err)
	a.Cleanup(func() { c.Close() })
	return c
}
