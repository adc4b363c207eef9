package units

import (
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/units/pair"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// A pair works in a user's service manager as in the system's: in root's own, and in that of a user
// without privileges, as which this test runs itself again.
func TestUserManager(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", systemdtest.UserManager(t))
	lifeAsUser(t)
}

func TestUserManagerUnprivileged(t *testing.T) {
	if os.Getuid() != 0 {
		lifeAsUser(t)
		return
	}
	const name = "sendense-nbd"
	dir := systemdtest.UserManagerOf(t, name)
	again := exec.Command("/proc/self/exe", "-test.v", "-test.run=^"+t.Name()+"$")
	again.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir, "HOME="+dir, "TMPDIR=/tmp")
	again.Dir = "/"
	again.SysProcAttr = &syscall.SysProcAttr{Credential: credential(t, name)}
	out, err := again.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as user %s: %v\n%s", name, err, out)
	}
}

func credential(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, errU := strconv.ParseUint(u.Uid, 10, 32)
	gid, errG := strconv.ParseUint(u.Gid, 10, 32)
	if errU != nil || errG != nil {
		t.Fatal(u)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func lifeAsUser(t *testing.T) {
	m := openWith(t, Options{User: true, Slice: testSlice})
	repository := t.TempDir()
	own := repository + "/own"
	run(t, "mkdir", own)
	image := own + "/disk0.qcow2"
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", image, "16M")
	s := pair.Spec{
		Name:          newName(t, m),
		Argv:          []string{"/usr/bin/qemu-nbd", "--fork", "-t", "-e", "10", "-x", "disk0", "-f", "qcow2", image},
		ListenAddress: freeAddress(t),
		HiddenDirs:    []string{repository},
		WritableDirs:  []string{own},
	}
	events := m.Watch(t.Context(), s.Name)
	mustStart(t, m, s)
	run(t, "qemu-io", "-f", "raw", "-c", "write -P 7 0 1M", "nbd://"+s.ListenAddress+"/disk0")
	if u, err := m.Terminate(t.Context(), s.Name); err != nil || !u.Clean() {
		t.Errorf("terminated: %+v, %v", u, err)
	}
	if e := nextOf(t, events, EventEnded); !e.Unit.Clean() {
		t.Errorf("event %+v", e)
	}
	if list, err := m.List(t.Context(), "test-"); err != nil || len(list) != 1 {
		t.Errorf("listed %+v, %v", list, err)
	}
	if err := m.Remove(t.Context(), s.Name); err != nil {
		t.Error(err)
	}
	nextOf(t, events, EventRemoved)
	run(t, "qemu-io", "-f", "qcow2", "-r", "-c", "read -P 7 0 1M", image)
}

func TestUserManagerMissing(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	if _, err := Open(t.Context(), Options{User: true}); err == nil || !strings.Contains(err.Error(), "XDG_RUNTIME_DIR") {
		t.Errorf("error %v", err)
	}
}
