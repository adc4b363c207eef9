package main_test

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The socket is for root and the group sendense.
func TestAccess(t *testing.T) {
	h := newHub(t)
	h.addVM("pgtest1", diskSize)
	group, err := user.LookupGroup("sendense")
	must(t, err)
	gid, err := strconv.Atoi(group.Gid)
	must(t, err)
	stranger := syscall.Credential{Uid: 4001, Gid: 4001, Groups: []uint32{4002}}
	member := syscall.Credential{Uid: 4001, Gid: 4001, Groups: []uint32{uint32(gid)}}
	for _, args := range [][]string{words("status"), words("backup start pgtest1 --wait")} {
		// Where the programs are built lies in folders that others may not enter.
		p := startAs(t, &stranger, sharedCopy(t, "sendensectl"), args...)
		code, exited := p.exited(patient)
		if !exited || code != 3 || !strings.Contains(p.stderr(), "permission denied") || !strings.Contains(p.stderr(), "group") {
			t.Errorf("a stranger, %q: %v %d %s", args, exited, code, p.stderr())
		}
		p = startAs(t, &member, sharedCopy(t, "sendensectl"), args...)
		if code, exited := p.exited(patient); !exited || code != 0 {
			t.Errorf("a member, %q: %v %d %s", args, exited, code, p.stderr())
		}
	}
}

// sharedCopy copies a program to where every user may run it.
func sharedCopy(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "bin-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	text, err := os.ReadFile(program(name))
	must(t, err)
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, text, 0o755))
	return path
}
