package snatest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestQuestions is how SBC decides between a full copy and an incremental one,
// and what each answer leads to.
func TestQuestions(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 2*mib, mib)
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
	start(ctx, t, server, m.request(job1))
	finished(ctx, t, server, job1)
	own, other := h.complete[0], h.complete[1]
	if own == "" || other == "" {
		t.Fatalf("change ids %v", h.complete)
	}
	type answer struct {
		status int
		body   string
	}
	says := func(id string) answer {
		body, _ := json.Marshal(map[string]string{"change_id": id}) // strings always encode
		return answer{http.StatusOK, string(body)}
	}
	failure := answer{http.StatusInternalServerError, "busy"}
	for i, test := range []struct {
		name    string
		answers []answer // of the first disk
		mode    string
		err     string
	}{
		{"empty", []answer{says("")}, "full", ""},
		{"an error", []answer{failure}, "full", ""},
		{"a value that is no string", []answer{{200, `{"change_id":"` + own + `","disk_id":0}`}}, "full", ""},
		{"no JSON", []answer{{200, "<html>"}}, "full", ""},
		{"an error the second time", []answer{says(own), failure}, "full", ""},
		{"empty the second time", []answer{says(own), says("")}, "full", ""},
		{"unparsable", []answer{says("52 ab"), says("52 ab")}, "full", ""},
		{"of another disk", []answer{says(other), says(other)}, "full", ""},
		{"its own", []answer{says(own), says(own), says(own)}, "incremental", ""},
		{"an error the third time", []answer{says(own), says(own), failure}, "incremental", "QueryChangedDiskAreas"},
		{"empty the third time", []answer{says(own), says(own), says("")}, "incremental", "QueryChangedDiskAreas"},
		{"of another disk the third time", []answer{says(own), says(own), says(other)}, "incremental", "QueryChangedDiskAreas"},
		{"unparsable the third time", []answer{says(own), says(own), says("52 ab")}, "incremental", "invalid change ID"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.mu.Lock()
			h.events, h.questions = nil, 0
			h.answer = func(question int) (int, string) {
				if question <= len(test.answers) {
					a := test.answers[question-1]
					return a.status, a.body
				}
				return 200, says("").body
			}
			h.mu.Unlock()
			job := fmt.Sprintf("backup-pgtest1-17600001%02d", i)
			start(ctx, t, server, m.request(job))
			run, err := server.WaitRun(ctx, job)
			if err != nil || run.Disks[0].Mode != test.mode || (run.Error == "") != (test.err == "") || !strings.Contains(run.Error, test.err) {
				t.Errorf("%+v, %v", run, err)
			}
			want := slices.Repeat([]string{"changeid pgtest1 0"}, len(test.answers))
			if test.err == "" {
				want = append(want, "complete "+job+" 0", "changeid pgtest1 0", "complete "+job+" 1")
			}
			if diff := cmp.Diff(want, h.calls()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEveryDiskCanBeIncremental: asked for disk 0, an answer with the id of the disk
// that is next makes that one an incremental copy. The third question has its index.
func TestEveryDiskCanBeIncremental(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", mib, mib, mib)
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
	start(ctx, t, server, m.request(job1))
	finished(ctx, t, server, job1)
	h.mu.Lock()
	ids := []string{h.complete[0], h.complete[1], h.complete[2]}
	h.answer = func(question int) (int, string) {
		return 200, `{"change_id":"` + ids[(question-1)/3] + `"}`
	}
	h.events, h.questions = nil, 0
	h.mu.Unlock()
	start(ctx, t, server, m.request(job2))
	run := finished(ctx, t, server, job2)
	want := []string{}
	for i, d := range run.Disks {
		if d.Mode != "incremental" || d.BytesWritten+d.BytesZeroed != 0 {
			t.Errorf("disk %d: %+v", i, d)
		}
		want = append(want, "changeid pgtest1 0", "changeid pgtest1 0", fmt.Sprintf("changeid pgtest1 %d", i), fmt.Sprintf("complete %s %d", job2, i))
	}
	if diff := cmp.Diff(want, h.calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestDisksInTheOrderOfTheHardware: a disk without a target is asked for, then the
// run ends; a target without a disk is never connected to.
func TestDisksInTheOrderOfTheHardware(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", mib, mib, mib)
	m.vm.Disks[0].Key, m.vm.Disks[1].Key, m.vm.Disks[2].Key = 2016, 2000, 32000
	targets := m.targets()
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})

	request := m.request(job1)
	request.NBDTargets = targets[:strings.LastIndexByte(targets, ',')] // not the third
	start(ctx, t, server, request)
	run, err := server.WaitRun(ctx, job1)
	if err != nil || !strings.Contains(run.Error, "no NBD target found for VMware disk key 32000") || run.Disks[2].Connections != 0 {
		t.Errorf("%+v, %v", run, err)
	}
	want := []string{
		"changeid pgtest1 0", "complete " + job1 + " 0", "changeid pgtest1 0", "complete " + job1 + " 1", "changeid pgtest1 0",
	}
	if diff := cmp.Diff(want, h.calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if left := server.State().Snapshots; len(left) != 0 {
		t.Errorf("snapshots left: %v", left)
	}

	gone := m.vm
	gone.Disks = m.vm.Disks[:2]
	if err := server.SetVM(gone); err != nil {
		t.Fatal(err)
	}
	tapped := newTap(t, m.exports[2])
	m.exports[2].port, tapped.port = tapped.port, m.exports[2].port
	m.vm.Disks[2].Key = 32000
	request = m.request(job2)
	start(ctx, t, server, request)
	if run := finished(ctx, t, server, job2); len(run.Disks) != 2 || tapped.conns != 0 {
		t.Errorf("%+v, %d connections to the third export", run, tapped.conns)
	}
}

// TestADiskThatCannotBeTracked ends the run before anything is asked about it.
func TestADiskThatCannotBeTracked(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", mib, mib)
	m.vm.Disks[1].NoChangeID = true
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
	start(ctx, t, server, m.request(job1))
	run, err := server.WaitRun(ctx, job1)
	if err != nil || !strings.Contains(run.Error, "CBT is not enabled on disk 2001") {
		t.Errorf("%+v, %v", run, err)
	}
	if diff := cmp.Diff([]string{"changeid pgtest1 0", "complete " + job1 + " 0"}, h.calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestAReplacedDiskHasAnotherChangeID, although it has the key of the old one; so
// has every disk of a VM that was made again under its name.
func TestAReplacedDiskHasAnotherChangeID(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", mib)
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
	uuids := map[string]bool{}
	for i, change := range []func(){
		func() {},
		func() { m.vm.Disks[0].UUID = "52 4e 55 00 00 00 00 00-00 00 00 00 00 00 00 01" },
		func() { m.vm.ID, m.vm.Disks[0].UUID = "4217ae5f-0000-0000-0000-000000000000", "" },
	} {
		change()
		if err := server.SetVM(m.vm); err != nil {
			t.Fatal(err)
		}
		for again := range 2 {
			job := fmt.Sprintf("backup-pgtest1-17600002%d%d", i, again)
			start(ctx, t, server, m.request(job))
			finished(ctx, t, server, job)
			uuid, number, _ := strings.Cut(h.complete[0], "/")
			uuids[uuid] = true
			if number != fmt.Sprint(again+1) || len(uuids) != i+1 {
				t.Errorf("change %d: id %s", i, h.complete[0])
			}
		}
	}
}
