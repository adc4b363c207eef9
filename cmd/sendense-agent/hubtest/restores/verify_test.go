package restores_test

import (
	"encoding/json"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestVerifyCommands: a chain of three, one bit, and what an operator sees of it.
func TestVerifyCommands(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize, hubtest.DiskSize)
	full := h.Point("pgtest1", rpc.Full)
	middle := h.Point("pgtest1", rpc.Incremental)
	top := h.Point("pgtest1", rpc.Incremental)
	good := func(args string) {
		t.Helper() // where it takes a while, standard error tells how far it is
		if code, stdout, stderr := h.CTL(hubtest.Words("backup verify " + args)...); code != 0 || !strings.Contains(stdout, "result:  ok") {
			t.Errorf("verify %s: %d\n%s%s", args, code, stdout, stderr)
		}
	}
	good(top)
	good(top + " --deep")
	h.Steps(
		hubtest.Step(hubtest.Words("backup verify nosuch"), 1, "", `"nosuch" is not on record`),
		hubtest.Step(hubtest.Words("backup list --damaged"), 0, "BACKUP", "no such backups"),
		hubtest.Step(hubtest.Words("backup chain pgtest1"), 0, "● "+middle, ""),
		hubtest.Step(hubtest.Words("backup chain nosuch"), 1, "", `"nosuch" is not on record`),
	)
	images, err := filepath.Glob(filepath.Join(h.Dir, "*", "pgtest1", full, "*-disk1.qcow2"))
	if err != nil || len(images) != 1 {
		t.Fatalf("images %v, %v", images, err)
	}
	hubtest.Flip(t, images[0])
	h.Steps(
		hubtest.Step(hubtest.Words("backup verify "+top+" --deep"), 4, images[0], "1 file is damaged"),
		hubtest.Step(hubtest.Words("backup list --damaged"), 0, full, ""),
		hubtest.Step(hubtest.Words("backup show "+full), 0, "disk1.qcow2 is not what was written", ""),
		hubtest.Step(hubtest.Words("backup chain pgtest1"), 0, "damaged", ""),
		hubtest.Step(hubtest.Words("backup start pgtest1 --type incremental"), 1, "", "found damaged"),
		hubtest.Step(hubtest.Words("restore disk "+top+" 1 "+t.TempDir()+"/x"), 4, "", images[0]+": was found damaged"),
		hubtest.Step(hubtest.Words("restore disk "+top+" 0 "+t.TempDir()+"/x"), 0, "restored", "disk 0"), // which does not stand on it
		hubtest.Step(hubtest.Words("restore disk "+top+" 1 "+t.TempDir()+"/x --despite-damage"), 5, "the restore point is damaged", images[0]),
	)
	hubtest.Flip(t, images[0])
	good(full + " --deep")
	h.Steps(hubtest.Step(hubtest.Words("backup list --damaged"), 0, "BACKUP", "no such backups"))
	manifest := filepath.Join(filepath.Dir(images[0]), "manifest.json")
	hubtest.Flip(t, manifest)
	h.Steps(hubtest.Step(hubtest.Words("backup verify "+top), 4, manifest, "1 file is damaged"))
	hubtest.Flip(t, manifest)
}

// TestVerifyOnTheWire: with nothing but a socket; progress comes on the same connection, and who hangs up cancels nothing.
func TestVerifyOnTheWire(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	id := h.Point("pgtest1", rpc.Full)
	call := func() net.Conn {
		c, err := net.Dial("unix", rpc.DefaultSocket)
		hubtest.Must(t, err)
		_, err = io.WriteString(c, `{"jsonrpc":"2.0","id":1,"method":"backup.verify","params":{"backup_id":"`+id+`","deep":true,"progress":true}}`)
		hubtest.Must(t, err)
		return c
	}
	c := call()
	defer c.Close()
	decoder, told := json.NewDecoder(c), 0
	for {
		var m struct {
			ID     *int
			Method string
			Params rpc.VerifyProgress
			Result rpc.VerifyReport
		}
		hubtest.Must(t, decoder.Decode(&m))
		if m.ID != nil {
			if m.Result.Result != rpc.VerifyOK || !m.Result.Deep || len(m.Result.Files) != 2 {
				t.Errorf("the answer is %+v", m.Result)
			}
			break
		}
		if told++; m.Method != rpc.NotifyVerifyProgress || m.Params.BackupID != id || m.Params.FilesTotal != 2 {
			t.Errorf("told %+v", m)
		}
	}
	if told == 0 {
		t.Error("no progress was told")
	}
	before := deepAt(h, id)
	hubtest.Must(t, call().Close())
	h.Eventually("a verification of somebody who hung up", func() bool { return deepAt(h, id).After(before) })
}

func deepAt(h *hubtest.Hub, id string) time.Time {
	h.Helper()
	_, stdout, _ := h.CTL("backup", "show", id, "-o", "json")
	var b rpc.Backup
	hubtest.Must(h.T, json.Unmarshal([]byte(stdout), &b))
	if b.Verified == nil {
		h.Fatalf("nothing is on record: %s", strings.TrimSpace(stdout))
	}
	return b.Verified.DeepAt
}

// TestVerifyInterrupted: Ctrl-C ends the waiting at once and says how to end the verification; that ends it for everybody, and what it
// kept from being deleted can be.
func TestVerifyInterrupted(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	id := h.Point("pgtest1", rpc.Full)
	if code, stdout, stderr := h.CTL("backup", "verify", id, "--deep"); code != 0 {
		t.Fatalf("%d %s %s", code, stdout, stderr)
	}
	before := deepAt(h, id)
	slowly := func() *hubtest.Process {
		p := hubtest.Start(t, hubtest.Program("sendensectl"), "backup", "verify", id, "--deep", "--rate-limit", "1")
		h.Eventually("it reads", func() bool { return strings.Contains(p.Stderr(), "verify: reading") })
		return p
	}
	one, other := slowly(), slowly()
	if code := one.End(syscall.SIGINT); code != 1 || !strings.Contains(one.Stderr(), "the verification continues. To stop it: sendensectl backup cancel --verify "+id) {
		t.Errorf("%d %s", code, one.Stderr())
	}
	h.Steps(hubtest.Step(hubtest.Words("backup delete --yes "+id), 1, "", "is being verified"))
	// The rest of the image would take months.
	h.Steps(hubtest.Step(hubtest.Words("backup cancel "+id), 0, "is unchanged", ""))
	if code, exited := other.Exited(hubtest.Patience); !exited || code != 1 || !strings.Contains(other.Stderr(), "the verification was canceled") {
		t.Errorf("%d, %v, %s", code, exited, other.Stderr())
	}
	if after := deepAt(h, id); !after.Equal(before) {
		t.Errorf("on record as read whole at %s, was %s", after, before)
	}
	h.Steps(hubtest.Step(hubtest.Words("backup delete --yes "+id), 0, "deleted", ""))
}
