package sna_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sendense/backup-agent/agent/sna"
)

func serveMux(t *testing.T, answers map[string]func(http.ResponseWriter, *http.Request)) *sna.Client {
	mux := http.NewServeMux()
	for pattern, handler := range answers {
		mux.HandleFunc(pattern, handler)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return newClient(t, sna.Options{URL: server.URL + "/prefix", QueryTimeout: time.Second})
}

func body(text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

func TestQueries(t *testing.T) {
	client := serveMux(t, map[string]func(http.ResponseWriter, *http.Request){
		"GET /prefix/api/v1/health":            body(`{"status":"healthy","timestamp":"2025-10-09T10:00:00Z","uptime":"0s"}`),
		"GET /prefix/api/v1/status/backup-a-1": body(`{"job_id":"backup-a-1","status":"running","vm_path":"/DC1/vm/a","start_time":"2025-10-09T10:00:00Z"}`),
		"GET /prefix/api/v1/status/backup-b-1": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "Job not found: backup-b-1", http.StatusNotFound)
		},
		"GET /prefix/api/v1/progress/backup-b-1": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "job not found", http.StatusNotFound)
		},
		"GET /prefix/api/v1/progress/backup-a-1": body(`{"job_id":"backup-a-1","percentage":101.5,"bytes_transferred":7,` +
			`"throughput":{"current_mbps":1.5},"timing":{"eta_seconds":9},"errors":[],"last_error":null}`),
	})
	health, err := client.Health(within(t))
	if err != nil || health.Status != "healthy" {
		t.Errorf("health: %+v, %v", health, err)
	}
	status, err := client.Status(within(t), "backup-a-1")
	if err != nil || status.Status != "running" || status.VMPath != "/DC1/vm/a" || status.StartTime.Year() != 2025 {
		t.Errorf("status: %+v, %v", status, err)
	}
	progress, err := client.Progress(within(t), "backup-a-1")
	if err != nil || progress.Percentage != 101.5 || progress.Throughput.CurrentMBps != 1.5 || progress.Timing.ETASeconds != 9 {
		t.Errorf("progress: %+v, %v", progress, err)
	}
	for name, call := range map[string]func() error{
		"status":   func() error { _, err := client.Status(within(t), "backup-b-1"); return err },
		"progress": func() error { _, err := client.Progress(within(t), "backup-b-1"); return err },
	} {
		if err := call(); !errors.Is(err, sna.ErrUnknownJob) {
			t.Errorf("%s of an unknown job: %v", name, err)
		}
	}
	if _, err := client.Status(within(t), "../health"); err == nil || errors.Is(err, sna.ErrUnknownJob) {
		t.Errorf("status of a path: %v", err)
	}
}

// TestProgressThatProvesNothing: only the SNA's own text says that SBC has not reported. A router without the call, another
// job's answer and an unreadable one say nothing of this job.
func TestProgressThatProvesNothing(t *testing.T) {
	for name, handler := range map[string]func(http.ResponseWriter, *http.Request){
		"no such call":  http.NotFound,
		"an empty 404":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"a proxy's 404": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>Not Found</html>", 404) },
		"broken":        func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "job not found", 500) },
		"another job":   body(`{"job_id":"backup-a-2","phase":"Transfer"}`),
		"no job":        body(`{}`),
		"null":          body(`null`),
		"garbage":       body(`job not found`),
	} {
		t.Run(name, func(t *testing.T) {
			client := serveMux(t, map[string]func(http.ResponseWriter, *http.Request){"/prefix/api/v1/progress/backup-a-1": handler})
			if got, err := client.Progress(within(t), "backup-a-1"); err == nil || errors.Is(err, sna.ErrUnknownJob) || got.Phase != "" {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// TestProgressIsFitForATerminal: texts of a client are shown to a person.
func TestProgressIsFitForATerminal(t *testing.T) {
	client := serveMux(t, map[string]func(http.ResponseWriter, *http.Request){
		"/prefix/api/v1/progress/backup-a-1": body(`{"job_id":"backup-a-1","phase":"Creating\u001b[31m  Snapshot\n","status":"in_\u0007progress"}`),
	})
	got, err := client.Progress(within(t), "backup-a-1")
	if err != nil || got.Phase != "Creating [31m Snapshot" || got.Status != "in_ progress" {
		t.Errorf("got %q, %q, %v", got.Phase, got.Status, err)
	}
}

func TestQueryFailures(t *testing.T) {
	for name, test := range map[string]struct {
		handler func(http.ResponseWriter, *http.Request)
		text    string
	}{
		"refused":  {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "out of memory", 500) }, "status 500: out of memory"},
		"garbage":  {body("<html>"), "unreadable answer"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "status 302"},
		"too long": {body(strings.Repeat(" ", 2<<20)), "more than 1048576 bytes"},
		"broken":   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"slow":     {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "within 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			client := serveMux(t, map[string]func(http.ResponseWriter, *http.Request){"/prefix/api/v1/health": test.handler})
			if _, err := client.Health(within(t)); err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %q in it", err, test.text)
			}
		})
	}
}

func TestDiscover(t *testing.T) {
	client := serveMux(t, map[string]func(http.ResponseWriter, *http.Request){
		"POST /prefix/api/v1/discover": body(`{"vcenter":{"host":"v","datacenter":"DC1"},"vms":[{"id":"vm-143","name":"pgtest1",
			"path":"/DC1/vm/pgtest1","datacenter":"DC1","power_state":"poweredOn","guest_os":"debian","memory_mb":4096,"num_cpu":2,"cpus":2,
			"disks":[{"id":"disk-2000","label":"Hard disk 1","capacity_bytes":109521666048,"size_gb":102,"unit_number":0,"datastore":"ds1"},
			         {"id":"disk-2016","label":"Hard disk 2","capacity_bytes":5368709120,"size_gb":5,"unit_number":0,"datastore":"ds1"}],
			"networks":[{"label":"x"}]}]}`),
	})
	request := sna.DiscoverRequest{VCenter: "v", Username: "u", Password: password, Datacenter: "DC1"}
	vms, err := client.Discover(within(t), request)
	if err != nil {
		t.Fatal(err)
	}
	want := []sna.DiscoveredVM{{
		ID: "vm-143", Name: "pgtest1", Path: "/DC1/vm/pgtest1", Datacenter: "DC1", PowerState: "poweredOn", GuestOS: "debian", MemoryMB: 4096, CPUs: 2,
		Disks: []sna.DiscoveredDisk{
			{ID: "disk-2000", Label: "Hard disk 1", CapacityBytes: 109521666048, SizeGB: 102, Datastore: "ds1"},
			{ID: "disk-2016", Label: "Hard disk 2", CapacityBytes: 5368709120, SizeGB: 5, Datastore: "ds1"},
		},
	}}
	if diff := cmp.Diff(want, vms); diff != "" {
		t.Errorf("vms (-want +got):\n%s", diff)
	}
	request.Password = ""
	var invalid *sna.InvalidRequestError
	if _, err := client.Discover(within(t), request); !errors.As(err, &invalid) || invalid.Field != "password" {
		t.Errorf("no password: %v", err)
	}
}

func TestDiscoverFailurePassesTheTextOnWithoutThePassword(t *testing.T) {
	client := serveMux(t, map[string]func(http.ResponseWriter, *http.Request){
		"POST /prefix/api/v1/discover": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, fmt.Sprintf("Discovery failed: %q is wrong", password), 500)
		},
	})
	_, err := client.Discover(within(t), sna.DiscoverRequest{VCenter: "v", Username: "u", Password: password, Datacenter: "DC1"})
	var refused *sna.RefusedError
	if !errors.As(err, &refused) || refused.Body != `Discovery failed: "[redacted]" is wrong` {
		t.Errorf("got %v", err)
	}
}

func TestParseDiskKey(t *testing.T) {
	for id, want := range map[string]int{"disk-2000": 2000, "disk-0": 0, "disk-2147483647": 2147483647} {
		if got, err := sna.ParseDiskKey(id); err != nil || got != want {
			t.Errorf("%q: %d, %v", id, got, err)
		}
	}
	for _, id := range []string{"", "disk-", "2000", "disk-02000", "disk-+1", "disk--1", "disk-2147483648", "disk-2000 ", "Disk-1", "disk-0x10"} {
		if got, err := sna.ParseDiskKey(id); err == nil {
			t.Errorf("%q: %d", id, got)
		}
	}
}
