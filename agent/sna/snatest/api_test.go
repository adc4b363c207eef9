package snatest_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return do(t, request)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, request)
}

func do(t *testing.T, request *http.Request) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(text))
}

func TestStartValidatesInTheWordsOfTheSNA(t *testing.T) {
	server := newServer(t, snatest.Options{})
	for _, test := range []struct{ body, want string }{
		{`{`, "Invalid request: unexpected EOF"},
		{`{"job_id":7}`, "Invalid request: json: cannot unmarshal number"},
		{`{}`, "Validation failed: job_id is required"},
		{`{"job_id":"a","vm_name":"b"}`, "Validation failed: vcenter_host is required"},
		{`{"job_id":"a","vm_name":"b","vcenter_host":"c","vcenter_user":"d","vcenter_password":"e","vm_path":"f","nbd_targets":"g"}`, "Validation failed: backup_type must be 'full' or 'incremental'"},
		{
			`{"job_id":"a","vm_name":"b","vcenter_host":"c","vcenter_user":"d","vcenter_password":"e","vm_path":"f","nbd_targets":"g","backup_type":"incremental"}`,
			"Validation failed: previous_change_id is required for incremental backups",
		},
	} {
		status, text := post(t, server.URL+"/api/v1/backup/start", test.body)
		if status != 400 || !strings.HasPrefix(text, test.want) {
			t.Errorf("%s: %d %s", test.body, status, text)
		}
	}
	if state := server.State(); len(state.Posts) != 6 || state.PostsPerJob["a"] != 3 || len(state.Runs) != 0 {
		t.Errorf("state %+v", state)
	}
}

func TestJobsAndDiscovery(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 1<<20, 1<<20)
	other := m.vm
	other.Path = "/DC1/vm/other"
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm, other}})
	client, err := sna.New(sna.Options{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if health, err := client.Health(ctx); err != nil || health.Status != "healthy" {
		t.Errorf("health: %+v, %v", health, err)
	}
	if _, err := client.Status(ctx, job1); !errors.Is(err, sna.ErrUnknownJob) {
		t.Errorf("status before: %v", err)
	}
	server.Hold("login")
	start(ctx, t, server, m.request(job1))
	if _, err := client.Progress(ctx, job1); !errors.Is(err, sna.ErrUnknownJob) {
		t.Errorf("progress before: %v", err)
	}
	server.Release("login")
	finished(ctx, t, server, job1)
	if status, err := client.Status(ctx, job1); err != nil || status.Status != "running" || status.VMPath != m.vm.Path {
		t.Errorf("status after: %+v, %v", status, err)
	}
	if progress, err := client.Progress(ctx, job1); err != nil || progress.Percentage != 100 {
		t.Errorf("progress after: %+v, %v", progress, err)
	}
	server.Forget()
	if _, err := client.Status(ctx, job1); !errors.Is(err, sna.ErrUnknownJob) {
		t.Errorf("status forgotten: %v", err)
	}

	request := sna.DiscoverRequest{VCenter: "v", Username: "u", Password: "p", Datacenter: "DC1", Filter: "pgtest1"}
	vms, err := client.Discover(ctx, request)
	if err != nil || len(vms) != 1 || vms[0].Path != m.vm.Path || vms[0].Datacenter != "DC1" || len(vms[0].Disks) != 2 {
		t.Fatalf("discover: %+v, %v", vms, err)
	}
	if key, err := vms[0].Disks[1].Key(); err != nil || key != 2001 || vms[0].Disks[1].CapacityBytes != 1<<20 {
		t.Errorf("disk: %+v, %v", vms[0].Disks[1], err)
	}
	if err := server.SetFaults(faults(t, "discover-fails=vCenter is away")); err != nil {
		t.Fatal(err)
	}
	var refused *sna.RefusedError
	if _, err := client.Discover(ctx, request); !errors.As(err, &refused) || refused.Body != "Discovery failed: vCenter is away" {
		t.Errorf("discover: %v", err)
	}
}

func TestAJobIDWithADiskInItSendsEveryDiskThere(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 1<<20, 1<<20)
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
	const jobID = "backup-x-disk7-y-1760000000" // package sna would refuse it
	request := m.request(job1)
	body, err := json.Marshal(map[string]string{
		"job_id": jobID, "vm_name": "pgtest1", "vm_path": request.VMPath, "vcenter_host": "h", "vcenter_user": "u",
		"vcenter_password": "p", "nbd_targets": request.NBDTargets, "backup_type": "full",
	})
	if err != nil {
		t.Fatal(err)
	}
	if status, text := post(t, server.URL+"/api/v1/backup/start", string(body)); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	run := finished(ctx, t, server, jobID)
	if run.Disks[0].ReportedID != 7 || run.Disks[1].ReportedID != 7 {
		t.Errorf("%+v", run.Disks)
	}
}

func TestControlEndpoints(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 1<<20)
	server := newServer(t, snatest.Options{})
	control := server.URL + "/sim/v1/"
	vm, err := json.Marshal(m.vm)
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []struct{ path, body, want string }{
		{"vm", string(vm), `"posts":[]`},
		{"fault", `{"faults":["silent=0"]}`, `"faults":["silent=0"]`},
		{"hold?point=copy/0", "", `"held":["copy/0"]`},
	} {
		if status, text := post(t, control+call.path, call.body); status != 200 || !strings.Contains(text, call.want) {
			t.Errorf("%s: %d %s", call.path, status, text)
		}
	}
	start(ctx, t, server, m.request(job1))
	if status, text := get(t, control+"wait?for=copy/0&job="+job1); status != 200 || !strings.Contains(text, `"held_at":"copy/0"`) {
		t.Errorf("wait: %d %s", status, text)
	}
	if status, text := post(t, control+"release?point=copy/0", ""); status != 200 {
		t.Errorf("release: %d %s", status, text)
	}
	if status, text := get(t, control+"wait?for=end&job="+job1); status != 200 || !strings.Contains(text, `"phase":"finished"`) {
		t.Errorf("wait: %d %s", status, text)
	}
	status, text := get(t, control+"state")
	if status != 200 || strings.Contains(text, "hunter2") || !strings.Contains(text, `"posts_per_job":{"`+job1+`":1}`) {
		t.Errorf("state: %d %s", status, text)
	}
	for _, bad := range []struct{ path, body string }{
		{"fault", `{"faults":["explode"]}`},
		{"fault", `{"fault":[]}`},
		{"hold?point=lunch", ""},
		{"release?point=lunch", ""},
		{"vm", `{"path":"relative"}`},
	} {
		if status, text := post(t, control+bad.path, bad.body); status != 400 {
			t.Errorf("%s: %d %s", bad.path, status, text)
		}
	}
	if status, _ := post(t, control+"forget", ""); status != 200 {
		t.Errorf("forget: %d", status)
	}
	for _, end := range []string{"kill", "terminate"} {
		if status, _ := post(t, control+end+"?job="+job1, ""); status != 200 {
			t.Errorf("%s: %d", end, status)
		}
	}
	if status, text := post(t, server.URL+"/api/v1/progress/"+job2+"/update", `{"stage":"Transfer","status":"in_progress","percent":7}`); status != 200 {
		t.Errorf("update: %d %s", status, text)
	}
	if progress, err := client(t, server).Progress(ctx, job2); err != nil || progress.Phase != "Transfer" || progress.Percentage != 7 {
		t.Errorf("progress %+v, %v", progress, err)
	}
	if status, _ := post(t, control+"remove-vm?path="+m.vm.Path, ""); status != 200 {
		t.Errorf("remove-vm: %d", status)
	}
	start(ctx, t, server, m.request(job2))
	if run, err := server.WaitRun(ctx, job2); err != nil || !strings.Contains(run.Error, "not found") {
		t.Errorf("%+v, %v", run, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, options := range []snatest.Options{
		{RequestBytes: 64 << 20},
		{RequestBytes: 1000},
		{VMs: []snatest.VM{{Path: "relative"}}},
		{VMs: []snatest.VM{{Path: "/a", Disks: []snatest.Disk{{Source: "/does/not/exist"}}}}},
		{Faults: snatest.Faults{Pause: []string{"lunch"}}},
		{Listen: "nowhere"},
	} {
		if server, err := snatest.New(options); err == nil {
			server.Close()
			t.Errorf("%+v was accepted", options)
		}
	}
}
