package snatest_test

import (
	"bytes"
	"cmp"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

const mib = 1 << 20

// newSparse is a disk of three chunks of 32 MiB: data between the samples, data
// that a sample sees, nothing.
func newSparse(t *testing.T, exact bool) *machine {
	t.Helper()
	m := newMachine(t, "qcow2", 4096)
	m.content[0] = make([]byte, 96*mib)
	copy(m.content[0][mib:], bytes.Repeat([]byte{1}, 64<<10))
	copy(m.content[0][64*mib-100:], "seen by the last sample")
	writeSource(t, m.vm.Disks[0].Source, m.content[0])
	image := newImage(t, "qcow2", 96*mib)
	if exact {
		m.exports[0] = serveExact(t, image, "pgtest1-disk0")
	} else {
		m.exports[0] = serveImage(t, image, "qcow2", "pgtest1-disk0")
	}
	return m
}

// TestSampling is the habit by which backups lost data, and its effect if the export
// refuses to write zeroes.
func TestSampling(t *testing.T) {
	for _, test := range []struct {
		name        string
		exact, read bool
		lost        bool
		zeroed      int64
		refused     int
		source      int64
	}{
		{name: "an export that takes zeroes", lost: true, zeroed: 64 * mib, source: 3*40<<10 + 32*mib},
		{name: "an export that refuses them", exact: true, refused: 2, source: 3*40<<10 + 96*mib},
		{name: "no sampling", read: true, zeroed: 32 * mib, source: 96 * mib},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := within(t)
			m := newSparse(t, test.exact)
			server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, NoSampling: test.read})
			start(ctx, t, server, m.request(job1))
			d := finished(ctx, t, server, job1).Disks[0]
			if d.BytesZeroed != test.zeroed || d.BytesWritten != 96*mib-test.zeroed || d.ZeroesRefused != test.refused || d.Retries != 0 || d.SourceBytes != test.source {
				t.Errorf("%+v", d)
			}
			if test.lost {
				clear(m.content[0][mib : mib+64<<10])
			}
			m.exports[0].holds(t, m.content[0])
		})
	}
}

// What is on the wire of a full copy: three workers, a third of the disk each, in
// chunks of 32 MiB from its start, over the second of two connections; nothing but
// writes and zeroes, without flags, and no NBD_CMD_DISC.
func TestTheWireOfAFullCopy(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "qcow2", 200*mib+512)
	tapped := newTap(t, m.exports[0])
	m.exports[0].port, tapped.port = tapped.port, m.exports[0].port
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}})
	start(ctx, t, server, m.request(job1))
	finished(ctx, t, server, job1)
	got := tapped.seen(t)
	slices.SortFunc(got, func(a, b sent) int { return cmp.Compare(a.offset, b.offset) })
	third := int64(200*mib+512) / 3 / 512 * 512
	want := []sent{}
	for worker := range int64(3) {
		end := min(third*(worker+1), 200*mib+512)
		if worker == 2 {
			end = 200*mib + 512
		}
		for at := third * worker; at < end; at += 32 * mib {
			want = append(want, sent{conn: 1, command: cmdWriteZeroes, offset: at, length: min(32*mib, end-at)})
		}
	}
	// Data is at the start, where a sample sees it, in the first 4 KiB, and at the end.
	want[0].command, want[len(want)-1].command = cmdWrite, cmdWrite
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if tapped.conns != 2 {
		t.Errorf("%d connections", tapped.conns)
	}
	if asked := tapped.contexts; len(asked) != 1 || asked[0].conn != 1 || !bytes.HasSuffix(asked[0].data, []byte("base:allocation")) {
		t.Errorf("meta contexts asked for: %+v", asked)
	}
}

// The wire of an incremental: one gap of up to 1 MiB is written, a longer one is not.
func TestTheWireOfAnIncremental(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "qcow2", 16*mib)
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
	start(ctx, t, server, m.request(job1))
	finished(ctx, t, server, job1)
	h.mu.Lock()
	h.changeIDs["0"] = h.complete[0]
	h.mu.Unlock()
	for _, at := range []int{4 * mib, 5*mib + 64<<10, 8 * mib} {
		m.content[0][at] ^= 1
	}
	writeSource(t, m.vm.Disks[0].Source, m.content[0])
	tapped := newTap(t, m.exports[0])
	m.exports[0].port, tapped.port = tapped.port, m.exports[0].port
	request := m.request(job2)
	request.BackupType, request.PreviousChangeID = sna.BackupIncremental, h.complete[0]
	start(ctx, t, server, request)
	finished(ctx, t, server, job2)
	want := []sent{
		{conn: 1, command: cmdWrite, offset: 4 * mib, length: mib + 128<<10},
		{conn: 1, command: cmdWrite, offset: 8 * mib, length: 64 << 10},
	}
	if got := tapped.seen(t); !slices.Equal(got, want) || tapped.conns != 2 {
		t.Errorf("%d connections, got %v", tapped.conns, got)
	}
	m.exports[0].holds(t, m.content[0])
}

// An incremental reads all it copies, and an export that refuses zeroes gets them
// as data.
func TestAnIncrementalDoesNotSample(t *testing.T) {
	ctx := within(t)
	m := newSparse(t, true)
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
	start(ctx, t, server, m.request(job1))
	finished(ctx, t, server, job1)
	h.mu.Lock()
	h.changeIDs["0"] = h.complete[0]
	h.mu.Unlock()
	// 5 MiB that change to data between the samples of the extent, and a block that becomes zero.
	for at := 70 * mib; at < 75*mib; at += 64 << 10 {
		m.content[0][at+32<<10] = 1
	}
	clear(m.content[0][mib : mib+64<<10])
	writeSource(t, m.vm.Disks[0].Source, m.content[0])
	start(ctx, t, server, m.request(job2))
	d := finished(ctx, t, server, job2).Disks[0]
	if d.Mode != "incremental" || d.BytesWritten != 5*mib+64<<10 || d.ZeroesRefused != 1 || d.SourceBytes != d.BytesWritten {
		t.Errorf("%+v", d)
	}
	m.exports[0].holds(t, m.content[0])
}

// TestRetriesReadAgain: an export that is gone keeps SBC alive for four tries, each
// of which reads its chunk again.
func TestRetriesReadAgain(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 9*mib)
	const delay = 50 * time.Millisecond
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, RetryDelay: delay})
	server.Hold("copy/0")
	start(ctx, t, server, m.request(job1))
	run, err := server.WaitHeld(ctx, job1, "copy/0")
	if err != nil {
		t.Fatal(err)
	}
	before := run.Disks[0].SourceBytes
	m.exports[0].stop(t)
	began := time.Now()
	server.Release("copy/0")
	run, err = server.WaitRun(ctx, job1)
	if err != nil {
		t.Fatal(err)
	}
	if d := run.Disks[0]; run.Error == "" || d.Retries != 3 || d.SourceBytes-before != 4*3*mib {
		t.Errorf("%s: %+v", run.Error, d)
	}
	if lived := time.Since(began); lived < 7*delay {
		t.Errorf("SBC lived on for %v", lived)
	}
	if len(server.State().Snapshots) != 0 {
		t.Error("the snapshot stays")
	}
}

// TestAWorkerThatFailsEndsAlone: the others finish their copy before the run fails.
func TestAWorkerThatFailsEndsAlone(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 9*mib)
	m.exports[0] = serveImage(t, newImage(t, "raw", 4*mib), "raw", "pgtest1-disk0")
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL, RetryDelay: -1})
	start(ctx, t, server, m.request(job1))
	run, err := server.WaitRun(ctx, job1)
	if err != nil {
		t.Fatal(err)
	}
	if d := run.Disks[0]; run.Error == "" || d.BytesWritten+d.BytesZeroed != 3*mib || d.Retries != 6 || len(d.Reports) != 0 {
		t.Errorf("%s: %+v", run.Error, d)
	}
	image, err := os.ReadFile(m.exports[0].path)
	if err != nil || !bytes.Equal(image[:3*mib], m.content[0][:3*mib]) {
		t.Errorf("the first third differs, %v", err)
	}
}

// TestAnIncrementalTriesEveryExtent of a missing export, four times each: SBC continues
// for so long after a cancellation.
func TestAnIncrementalTriesEveryExtent(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 16*mib)
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL, RetryDelay: 10 * time.Millisecond})
	start(ctx, t, server, m.request(job1))
	finished(ctx, t, server, job1)
	h.mu.Lock()
	h.changeIDs["0"] = h.complete[0]
	h.mu.Unlock()
	for extent := range 6 { // more than 1 MiB apart
		m.content[0][extent*2*mib] ^= 1
	}
	writeSource(t, m.vm.Disks[0].Source, m.content[0])
	server.Hold("copy/0")
	start(ctx, t, server, m.request(job2))
	run, err := server.WaitHeld(ctx, job2, "copy/0")
	if err != nil || run.Disks[0].SourceBytes != 3*64<<10 {
		t.Fatalf("half way: %+v, %v", run, err)
	}
	m.exports[0].stop(t)
	server.Release("copy/0")
	run, err = server.WaitRun(ctx, job2)
	if err != nil || run.Error == "" || len(h.complete) != 1 || len(server.State().Snapshots) != 0 {
		t.Errorf("%+v, %v", run, err)
	}
	if d := run.Disks[0]; d.Retries != 3*3 || d.SourceBytes != (3+3*4)*64<<10 {
		t.Errorf("%+v", d)
	}
}
