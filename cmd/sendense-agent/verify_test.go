package main_test

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// flip flips a bit in the midst of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	flipAt(t, path, info.Size()/2)
}

func flipAt(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	one := make([]byte, 1)
	_, err = f.ReadAt(one, at)
	must(t, err)
	one[0] ^= 16
	_, err = f.WriteAt(one, at)
	must(t, err)
}

// TestVerifyCommands: a chain of three, one bit, and what an operator sees of it.
func TestVerifyCommands(t *testing.T) {
	h := newHub(t)
	h.addVM("pgtest1", diskSize, diskSize)
	full := h.point("pgtest1", rpc.Full)
	middle := h.point("pgtest1", rpc.Incremental)
	top := h.point("pgtest1", rpc.Incremental)
	good := func(args string) {
		t.Helper() // where it takes a while, standard error tells how far it is
		if code, stdout, stderr := h.ctl(words("backup verify " + args)...); code != 0 || !strings.Contains(stdout, "result:  ok") {
			t.Errorf("verify %s: %d\n%s%s", args, code, stdout, stderr)
		}
	}
	good(top)
	good(top + " --deep")
	h.steps(
		step{words("backup verify nosuch"), 1, "", `"nosuch" is not on record`},
		step{words("backup list --damaged"), 0, "BACKUP", "no such backups"},
		step{words("backup chain pgtest1"), 0, "● " + middle, ""},
		step{words("backup chain nosuch"), 1, "", `"nosuch" is not on record`},
	)
	images, err := filepath.Glob(filepath.Join(h.dir, "*", "pgtest1", full, "*-disk1.qcow2"))
	if err != nil || len(images) != 1 {
		t.Fatalf("images %v, %v", images, err)
	}
	flip(t, images[0])
	h.steps(
		step{words("backup verify " + top + " --deep"), 4, images[0], "1 file is damaged"},
		step{words("backup list --damaged"), 0, full, ""},
		step{words("backup show " + full), 0, "disk1.qcow2 is not what was written", ""},
		step{words("backup chain pgtest1"), 0, "damaged", ""},
		step{words("backup start pgtest1 --type incremental"), 1, "", "found damaged"},
		step{words("restore disk " + top + " 1 " + t.TempDir() + "/x"), 4, "", images[0] + ": was found damaged"},
		step{words("restore disk " + top + " 0 " + t.TempDir() + "/x"), 0, "restored", "disk 0"}, // which does not stand on it
		step{words("restore disk " + top + " 1 " + t.TempDir() + "/x --despite-damage"), 5, "the restore point is damaged", images[0]},
	)
	flip(t, images[0])
	good(full + " --deep")
	h.steps(step{words("backup list --damaged"), 0, "BACKUP", "no such backups"})
	manifest := filepath.Join(filepath.Dir(images[0]), "manifest.json")
	flip(t, manifest)
	h.steps(step{words("backup verify " + top), 4, manifest, "1 file is damaged"})
	flip(t, manifest)
}

// TestVerifyOnTheWire: with nothing but a socket; progress comes on the same connection, and who hangs up cancels nothing.
func TestVerifyOnTheWire(t *testing.T) {
	h := newHub(t)
	h.addVM("pgtest1", diskSize)
	id := h.point("pgtest1", rpc.Full)
	call := func() net.Conn {
		c, err := net.Dial("unix", rpc.DefaultSocket)
		must(t, err)
		_, err = io.WriteString(c, `{"jsonrpc":"2.0","id":1,"method":"backup.verify","params":{"backup_id":"`+id+`","deep":true,"progress":true}}`)
		must(t, err)
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
		must(t, decoder.Decode(&m))
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
	before := h.deepAt(id)
	must(t, call().Close())
	h.eventually("a verification of somebody who hung up", func() bool { return h.deepAt(id).After(before) })
}

func (h *hub) deepAt(id string) time.Time {
	h.Helper()
	_, stdout, _ := h.ctl("backup", "show", id, "-o", "json")
	var b rpc.Backup
	must(h.T, json.Unmarshal([]byte(stdout), &b))
	if b.Verified == nil {
		h.Fatalf("nothing is on record: %s", strings.TrimSpace(stdout))
	}
	return b.Verified.DeepAt
}

// TestVerifyInterrupted: Ctrl-C ends the waiting at once and says how to end the verification; that ends it for everybody, and what it
// kept from being deleted can be.
func TestVerifyInterrupted(t *testing.T) {
	h := newHub(t)
	h.addVM("pgtest1", diskSize)
	id := h.point("pgtest1", rpc.Full)
	if code, stdout, stderr := h.ctl("backup", "verify", id, "--deep"); code != 0 {
		t.Fatalf("%d %s %s", code, stdout, stderr)
	}
	before := h.deepAt(id)
	slowly := func() *process {
		p := start(t, program("sendensectl"), "backup", "verify", id, "--deep", "--rate-limit", "1")
		h.eventually("it reads", func() bool { return strings.Contains(p.stderr(), "verify: reading") })
		return p
	}
	one, other := slowly(), slowly()
	if code := one.end(syscall.SIGINT); code != 1 || !strings.Contains(one.stderr(), "the verification continues. To stop it: sendensectl backup cancel --verify "+id) {
		t.Errorf("%d %s", code, one.stderr())
	}
	h.steps(step{words("backup delete --yes " + id), 1, "", "is being verified"})
	asked := time.Now()
	h.steps(step{words("backup cancel " + id), 0, "is unchanged", ""})
	if took := time.Since(asked); took > 10*time.Second {
		t.Errorf("the cancel took %s", took)
	}
	if code, exited := other.exited(patient); !exited || code != 1 || !strings.Contains(other.stderr(), "its verification was cancelled") {
		t.Errorf("%d, %v, %s", code, exited, other.stderr())
	}
	if after := h.deepAt(id); !after.Equal(before) {
		t.Errorf("on record as read whole at %s, was %s", after, before)
	}
	h.steps(step{words("backup delete --yes " + id), 0, "deleted", ""})
}
