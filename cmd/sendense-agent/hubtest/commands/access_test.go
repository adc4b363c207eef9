package commands_test

import (
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

// The socket is for root and the group sendense.
func TestAccess(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	group, err := user.LookupGroup("sendense")
	hubtest.Must(t, err)
	gid, err := strconv.Atoi(group.Gid)
	hubtest.Must(t, err)
	stranger := syscall.Credential{Uid: 4001, Gid: 4001, Groups: []uint32{4002}}
	member := syscall.Credential{Uid: 4001, Gid: 4001, Groups: []uint32{uint32(gid)}}
	for _, args := range [][]string{hubtest.Words("status"), hubtest.Words("backup start pgtest1 --wait")} {
		// Where the programs are built lies in folders that others may not enter.
		p := hubtest.StartAs(t, &stranger, hubtest.SharedCopy(t, "sendensectl"), args...)
		code, exited := p.Exited(hubtest.Patience)
		if !exited || code != 3 || !strings.Contains(p.Stderr(), "permission denied") || !strings.Contains(p.Stderr(), "group") {
			t.Errorf("a stranger, %q: %v %d %s", args, exited, code, p.Stderr())
		}
		p = hubtest.StartAs(t, &member, hubtest.SharedCopy(t, "sendensectl"), args...)
		if code, exited := p.Exited(hubtest.Patience); !exited || code != 0 {
			t.Errorf("a member, %q: %v %d %s", args, exited, code, p.Stderr())
		}
	}
}
