package systemdtest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
)

// UserManager starts a service manager (systemd --user) for the calling user and returns its runtime
// directory: set XDG_RUNTIME_DIR to it. The manager ends with the test. UserManager works inside a
// machine only.
func UserManager(t testing.TB) (runtimeDir string) {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatalf("systemdtest: current user: %v", err)
	}
	return UserManagerOf(t, u.Username)
}

// UserManagerOf is UserManager for another user. A user's manager accepts commands only from that user,
// not from root: run the test's own code as that user (SysProcAttr.Credential) to talk to it.
func UserManagerOf(t testing.TB, name string) (runtimeDir string) {
	t.Helper()
	if !Inside() {
		t.Fatal("systemdtest: UserManager works inside a machine only; use systemdtest.Main in TestMain")
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatalf("systemdtest: %v", err)
	}
	dir := filepath.Join("/run/user", u.Uid)
	if err := makeRuntimeDir(dir, u); err != nil {
		t.Fatalf("systemdtest: runtime directory: %v", err)
	}
	unit := "systemdtest-user-" + u.Uid + ".service"
	// As user@.service, without PAM: a delegated cgroup, and ready when the manager reports it.
	out, err := exec.Command("systemd-run", "--quiet", "--collect", "--unit="+unit,
		"--property=Type=notify", "--property=Delegate=yes", "--property=KillMode=mixed",
		"--property=User="+u.Uid, "--setenv=XDG_RUNTIME_DIR="+dir, "--setenv=HOME="+dir,
		// No generators: fast, and the same on every host.
		"--setenv=SYSTEMD_ENVIRONMENT_GENERATOR_PATH="+unitDir+"/no-generators",
		"--setenv=SYSTEMD_GENERATOR_PATH="+unitDir+"/no-generators",
		firstExisting(systemdPaths), "--user").CombinedOutput()
	if err != nil {
		t.Fatalf("systemdtest: start the manager of user %s: %v: %s", name, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("systemctl", "stop", unit).CombinedOutput(); err != nil {
			t.Errorf("systemdtest: stop the manager of user %s: %v: %s", name, err, out)
		}
		_ = removeTree(dir)
	})
	return dir
}

func makeRuntimeDir(dir string, u *user.User) error {
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	if errU != nil || errG != nil {
		return fmt.Errorf("user %s has no numeric IDs", u.Username)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.Chown(dir, uid, gid)
}
