package agenttest

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/verify"
)

// Verify verifies a restore point and waits for the end.
func (w *World) Verify(b record.Backup, deep bool) verify.Report {
	w.Helper()
	v, err := w.Agent.Verifications.Start(verify.Request{BackupID: b.ID, Deep: deep})
	Must(w.TB, err)
	report, err := v.Wait(w.Context())
	Must(w.TB, err)
	return report
}

// WantVerified fails the test unless a report has the result, and every file has the status in files, or FileOK if it is not in files.
func WantVerified(t testing.TB, r verify.Report, result string, files map[string]verify.FileStatus) {
	t.Helper()
	if r.Result != result {
		t.Errorf("the result is %s, want %s: %+v", r.Result, result, r.Files)
	}
	for _, f := range r.Files {
		want, named := files[f.Path]
		if !named {
			want = verify.FileOK
		}
		if f.Status != want || (f.Status == verify.FileOK) != (f.Problem == "") {
			t.Errorf("%s is %s (%s), want %s", f.Path, f.Status, f.Problem, want)
		}
		delete(files, f.Path)
	}
	for path := range files {
		t.Errorf("%s is not in the report", path)
	}
}

// Flip flips one bit of a file.
func Flip(t testing.TB, path string, offset int64, bit uint) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	Must(t, err)
	defer f.Close()
	one := make([]byte, 1)
	_, err = f.ReadAt(one, offset)
	Must(t, err)
	one[0] ^= 1 << bit
	_, err = f.WriteAt(one, offset)
	Must(t, err)
}

// TwoDisks makes a full backup and two incrementals of a VM with two disks.
func (w Chains) TwoDisks() (points []record.Backup) {
	w.Helper()
	_, sources := w.PutVM("vm", 16<<20, 8<<20)
	for i, kind := range []record.Type{record.Full, record.Incremental, record.Incremental} {
		Scribble(w.TB, sources[i%2], int64(1+i)<<20)
		points = append(points, w.Point("vm", kind))
	}
	return points
}

// DataOffset returns an offset in an image that holds data of the guest.
func DataOffset(t testing.TB, image string) int64 {
	t.Helper()
	out, err := exec.Command("qemu-img", "map", "-f", "qcow2", "--output=json", image).Output()
	Must(t, err)
	at := regexp.MustCompile(`"offset": (\d+)`).FindSubmatch(out)
	if at == nil {
		t.Fatalf("%s holds no data: %s", image, out)
	}
	var n int64
	_, err = fmt.Sscan(string(at[1]), &n)
	Must(t, err)
	return n
}
