package snatest_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

func TestFullBackupHoldsTheInstantOfTheSnapshot(t *testing.T) {
	for _, format := range []string{"raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			ctx := within(t)
			m := newMachine(t, format, 8<<20, 2<<20, 3<<20+512)
			h := newHub(t)
			server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL, SnapshotBeforeAnswer: true})
			h.onDone = func(int) {
				// The report comes while the first connection is still open.
				if run, _ := server.State().Run(job1); run.OpenConnections != 1 {
					t.Errorf("%d connections open during a report", run.OpenConnections)
				}
			}
			start(ctx, t, server, m.request(job1))
			for i, disk := range m.vm.Disks {
				writeSource(t, disk.Source, content(int64(len(m.content[i]))))
			}
			run := finished(ctx, t, server, job1)
			for i, e := range m.exports {
				e.holds(t, m.content[i])
				disk := run.Disks[i]
				if disk.Mode != "full" || disk.Connections != 2 || disk.ReportedID != i || !slices.Equal(disk.Reports, []int{200}) {
					t.Errorf("disk %d: %+v", i, disk)
				}
				if disk.BytesWritten+disk.BytesZeroed != int64(len(m.content[i])) || i == 0 && disk.BytesZeroed == 0 {
					t.Errorf("disk %d: %d bytes written, %d zeroed", i, disk.BytesWritten, disk.BytesZeroed)
				}
			}
			if diff := cmp.Diff([]string{
				"changeid pgtest1 0", "telemetry completed completed 0 0 0", "complete " + job1 + " 0",
				"changeid pgtest1 0", "telemetry completed completed 0 0 0", "complete " + job1 + " 1",
				"changeid pgtest1 0", "telemetry completed completed 0 0 0", "complete " + job1 + " 2",
			}, h.seen()); diff != "" {
				t.Errorf("calls back (-want +got):\n%s", diff)
			}
			state := server.State()
			if len(state.Snapshots) != 0 || state.PostsPerJob[job1] != 1 || state.Posts[0].Body["vcenter_password"] != "[masked]" {
				t.Errorf("state %+v", state)
			}
			shape := regexp.MustCompile(`^52( [0-9a-f]{2}){7}-[0-9a-f]{2}( [0-9a-f]{2}){7}/1$`)
			if id := h.complete[0]; !shape.MatchString(id) || id == h.complete[1] {
				t.Errorf("change ids %v", h.complete)
			}
		})
	}
}

func TestIncrementalCopiesChangesOfDisk0AndAllOfTheOthers(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "qcow2", 16<<20, 2<<20)
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
	start(ctx, t, server, m.request(job1))
	finished(ctx, t, server, job1)

	// Disk 0: a block changed, one zeroed, a tail grown. Disk 1: a byte changed.
	m.content[0][5<<20] ^= 1
	clear(m.content[0][1<<20 : 1<<20+64<<10])
	m.content[1][7] ^= 1
	writeSource(t, m.vm.Disks[0].Source, m.content[0])
	writeSource(t, m.vm.Disks[1].Source, m.content[1])
	h.mu.Lock()
	h.changeIDs["0"] = h.complete[0]
	h.events = nil
	h.mu.Unlock()

	request := m.request(job2)
	request.BackupType, request.PreviousChangeID = sna.BackupIncremental, h.complete[0]
	start(ctx, t, server, request)
	run := finished(ctx, t, server, job2)
	if d := run.Disks[0]; d.Mode != "incremental" || d.BytesWritten+d.BytesZeroed != 2*64<<10 || d.Connections != 2 {
		t.Errorf("disk 0: %+v", d)
	}
	if d := run.Disks[1]; d.Mode != "full" || d.BytesWritten+d.BytesZeroed != 2<<20 {
		t.Errorf("disk 1: %+v", d)
	}
	for i, e := range m.exports {
		e.holds(t, m.content[i])
	}
	want := []string{
		"changeid pgtest1 0", "changeid pgtest1 0", "changeid pgtest1 0", "complete " + job2 + " 0",
		"changeid pgtest1 0", "changeid pgtest1 0", "complete " + job2 + " 1",
	}
	got := slices.DeleteFunc(h.seen(), func(e string) bool { return strings.HasPrefix(e, "telemetry") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls back (-want +got):\n%s", diff)
	}
	if !strings.HasSuffix(h.complete[0], "/2") {
		t.Errorf("second change id is %s", h.complete[0])
	}
}

func TestAnUnchangedDiskIsReportedWithoutCopying(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 2<<20)
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
	start(ctx, t, server, m.request(job1))
	finished(ctx, t, server, job1)
	h.mu.Lock()
	h.changeIDs["0"] = h.complete[0]
	h.mu.Unlock()
	start(ctx, t, server, m.request(job2)) // SBC heeds the answer, not the type
	run := finished(ctx, t, server, job2)
	if d := run.Disks[0]; d.Mode != "incremental" || d.BytesWritten+d.BytesZeroed != 0 || d.Connections != 1 || len(d.Reports) != 1 {
		t.Errorf("disk 0: %+v", d)
	}
}

func TestAnUnknownChangeIDOfTheSameDiskFailsTheRun(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 2<<20)
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
	start(ctx, t, server, m.request(job1))
	finished(ctx, t, server, job1)
	h.mu.Lock()
	h.changeIDs["0"] = strings.TrimSuffix(h.complete[0], "/1") + "/99"
	h.mu.Unlock()
	start(ctx, t, server, m.request(job2))
	run, err := server.WaitRun(ctx, job2)
	if err != nil || !strings.Contains(run.Error, "QueryChangedDiskAreas") {
		t.Errorf("%+v, %v", run, err)
	}
}

// Two writers keep one counter on two disks under a shared flock; no image pair
// may contain two different counts.
func TestSnapshotIsOneInstantForAWriterThatLocks(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 1<<20, 1<<20)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}})
	begun, stop := make(chan struct{}), make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { countOnDisks(t, m.vm.Disks, begun, stop) })
	<-begun
	start(ctx, t, server, m.request(job1))
	finished(ctx, t, server, job1)
	close(stop)
	writer.Wait()
	var counts []uint64
	for _, e := range m.exports {
		e.stop(t)
		image, err := os.ReadFile(e.path)
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, binary.BigEndian.Uint64(image))
	}
	if counts[0] != counts[1] {
		t.Errorf("disks hold counts %d", counts)
	}
}

func countOnDisks(t *testing.T, disks []snatest.Disk, begun chan<- struct{}, stop <-chan struct{}) {
	defer func() {
		if begun != nil {
			close(begun)
		}
	}()
	var files []*os.File
	for _, disk := range disks {
		file, err := os.OpenFile(disk.Source, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer file.Close()
		files = append(files, file)
	}
	for count := uint64(1); ; count++ {
		select {
		case <-stop:
			return
		default:
		}
		for _, file := range files {
			if err := syscall.Flock(int(file.Fd()), syscall.LOCK_SH); err != nil {
				t.Error(err)
				return
			}
		}
		for _, file := range files {
			if _, err := file.WriteAt(binary.BigEndian.AppendUint64(nil, count), 0); err != nil {
				t.Error(err)
			}
			time.Sleep(100 * time.Microsecond)
		}
		for _, file := range files {
			_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
		}
		if begun != nil {
			close(begun)
			begun = nil
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func TestALargeSparseDiskIsFast(t *testing.T) {
	ctx := within(t)
	const size = 64 << 30
	m := newMachine(t, "qcow2", 1<<20)
	path := filepath.Join(t.TempDir(), "large")
	writeSource(t, path, nil)
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	m.vm.Disks[0].Source = path
	m.exports = []*export{serveImage(t, newImage(t, "qcow2", size), "qcow2", "pgtest1-disk0")}
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}})
	start(ctx, t, server, m.request(job1))
	run := finished(ctx, t, server, job1)
	// Five samples of 8 KiB are read of each chunk; each of three workers may have a shorter one at the end.
	const samples = (size/snatest.MaxRequestBytes + 3) * 5 * (8 << 10)
	if d := run.Disks[0]; d.BytesZeroed != size || d.BytesWritten != 0 || d.SourceBytes > samples {
		t.Errorf("%d bytes are zeroed, %d written, %d read", d.BytesZeroed, d.BytesWritten, d.SourceBytes)
	}
}

func TestTheDemonstrationWithoutAHub(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 2<<20)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, OldContract: true, ReadInPlace: true, NoChangeTracking: true})
	request := m.request(job1)
	request.VCenterHost, request.VCenterUser, request.VCenterPassword, request.VMPath = "", "", "", ""
	start(ctx, t, server, request)
	run := finished(ctx, t, server, job1)
	m.exports[0].holds(t, m.content[0])
	if run.Telemetry != 0 || len(run.Disks[0].Reports) != 0 {
		t.Errorf("%+v", run)
	}
}
