package sna_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sendense/backup-agent/agent/sna"
)

// recordedSNA answers every start with 200 and keeps the bodies.
func recordedSNA(t *testing.T, bodies *[]map[string]any) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/api/v1/backup/start" {
			http.Error(w, "wrong call "+r.Method+" "+r.URL.Path, http.StatusNotFound)
			return
		}
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var body map[string]any
		if err := json.Unmarshal(raw, &body); err != nil {
			t.Errorf("body %q: %v", raw, err)
		}
		*bodies = append(*bodies, body)
		io.WriteString(w, `{"job_id":"`+body["job_id"].(string)+`","status":"started","message":"Backup\nstarted for pgtest1",`+
			`"started_at":"2025-10-09T10:00:00Z","pid":4711}`+"\n")
	}))
	t.Cleanup(server.Close)
	return server
}

func TestStartSendsBothContractsInOneBody(t *testing.T) {
	var bodies []map[string]any
	server := recordedSNA(t, &bodies)
	client := newClient(t, sna.Options{URL: server.URL + "/"})

	got, err := client.Start(within(t), fullRequest())
	if err != nil {
		t.Fatal(err)
	}
	want := sna.StartResponse{
		JobID: "backup-pgtest1-1760000000", Status: "started", Message: "Backup started for pgtest1",
		StartedAt: time.Date(2025, 10, 9, 10, 0, 0, 0, time.UTC), PID: 4711,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}

	incremental := fullRequest()
	incremental.BackupType, incremental.PreviousChangeID = sna.BackupIncremental, "52 de/3"
	incremental.VCenterHost, incremental.VCenterUser, incremental.VCenterPassword, incremental.VMPath = "", "", "", ""
	if _, err := client.Start(within(t), incremental); err != nil {
		t.Fatal(err)
	}

	if diff := cmp.Diff([]map[string]any{
		{
			"job_id": "backup-pgtest1-1760000000", "vm_name": "pgtest1", "vm_path": "/DC1/vm/pgtest1",
			"vcenter_host": "vcenter.example", "vcenter_user": "backup@vsphere.local", "vcenter_password": password,
			"nbd_targets": "2000:nbd://127.0.0.1:10105/pgtest1-disk0", "nbd_host": "127.0.0.1", "backup_type": "full",
		},
		{
			"job_id": "backup-pgtest1-1760000000", "vm_name": "pgtest1",
			"nbd_targets": "2000:nbd://127.0.0.1:10105/pgtest1-disk0", "nbd_host": "127.0.0.1",
			"backup_type": "incremental", "previous_change_id": "52 de/3",
		},
	}, bodies); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
}

// TestStartNamesOneVM: characters of a pattern are escaped. SBC's finder matches with Go's path.Match.
func TestStartNamesOneVM(t *testing.T) {
	var bodies []map[string]any
	server := recordedSNA(t, &bodies)
	client := newClient(t, sna.Options{URL: server.URL})
	for _, vm := range []string{"/DC1/vm/web[1]", "/DC1/vm/a*b?", `/DC1/v[m/back\slash[^x-z]]`, "/DC1/vm/%2f %25 ü", "/DC1/vm/pgtest1", "/DC1/vm/...", "/DC1/vm/...//", "/DC1/vm/a..."} {
		request := fullRequest()
		request.VMPath = vm
		if _, err := client.Start(within(t), request); err != nil {
			t.Fatal(err)
		}
		sent := bodies[len(bodies)-1]["vm_path"].(string)
		if path.Base(path.Clean(sent)) == "..." {
			t.Errorf("%s, sent as %s, finds all that is below", vm, sent)
		}
		for _, other := range []string{vm, "/DC1/vm/web1", "/DC1/vm/axbx", "/DC1/vm/back/slash[^x-z]]", "/DC1/vm/pgtest2"} {
			if found, err := path.Match(path.Clean(sent), path.Clean(other)); err != nil || found != (other == vm) {
				t.Errorf("%s, sent as %s, finds %s: %v, %v", vm, sent, other, found, err)
			}
		}
	}
}

func TestStartRefusesWhatWouldHarmBeforeItConnects(t *testing.T) {
	server := serveRaw(t, nil)
	client := newClient(t, sna.Options{URL: server.URL})
	for field, change := range map[string]func(*sna.StartRequest){
		"job_id":             func(r *sna.StartRequest) { r.JobID = "backup-x-disk2-y-1760000000" },
		"job_id ":            func(r *sna.StartRequest) { r.JobID = "job-1" },
		"job_id  ":           func(r *sna.StartRequest) { r.JobID = "backup-a/b" },
		"job_id   ":          func(r *sna.StartRequest) { r.JobID = "backup-" + strings.Repeat("a", 58) },
		"vm_path ":           func(r *sna.StartRequest) { r.VMPath = "pgtest1" },
		"vm_path  ":          func(r *sna.StartRequest) { r.VMPath = "DC1/vm/pgtest1" },
		"vm_path   ":         func(r *sna.StartRequest) { r.VMPath = "VirtualMachine:vm-42" },
		"vm_name":            func(r *sna.StartRequest) { r.VMName = "" },
		"nbd_targets":        func(r *sna.StartRequest) { r.NBDTargets = "" },
		"nbd_host":           func(r *sna.StartRequest) { r.NBDHost = "" },
		"vcenter_host":       func(r *sna.StartRequest) { r.VCenterHost = "" },
		"vcenter_user":       func(r *sna.StartRequest) { r.VCenterUser = "" },
		"vcenter_password":   func(r *sna.StartRequest) { r.VCenterPassword = "" },
		"vm_path":            func(r *sna.StartRequest) { r.VMPath = "" },
		"backup_type":        func(r *sna.StartRequest) { r.BackupType = "differential" },
		"previous_change_id": func(r *sna.StartRequest) { r.PreviousChangeID = "52/1" },
		"previous_change_id ": func(r *sna.StartRequest) {
			r.BackupType = sna.BackupIncremental
		},
	} {
		request := fullRequest()
		change(&request)
		_, err := client.Start(within(t), request)
		var invalid *sna.InvalidRequestError
		if !errors.As(err, &invalid) || invalid.Field != strings.TrimSpace(field) {
			t.Errorf("%s: got %v", field, err)
		}
		if !sna.NotStarted(err) {
			t.Errorf("%s: NotStarted is false for %v", field, err)
		}
	}
	if connections, _, _ := server.counts(); connections != 0 {
		t.Errorf("%d connections were made", connections)
	}
}
