package snatest_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

func discovered(t *testing.T, server *snatest.Server, datacenter, filter string) []map[string]any {
	t.Helper()
	body, _ := json.Marshal(map[string]string{ // strings always encode
		"vcenter": "v", "username": "u", "password": "p", "datacenter": datacenter, "filter": filter,
	})
	status, text := post(t, server.URL+"/api/v1/discover", string(body))
	var answer struct{ VMs []map[string]any }
	if err := json.Unmarshal([]byte(text), &answer); err != nil || status != 200 {
		t.Fatalf("%d %s: %v", status, text, err)
	}
	return answer.VMs
}

func TestDiscoverFilters(t *testing.T) {
	server := newServer(t, snatest.Options{VMs: []snatest.VM{
		{Path: "/DC1/vm/Web1"},
		{Path: "/DC1/vm/folder/web2"},
		{Path: "/DC1/vm/db"},
		{Path: "/DC1/vm/old-name", Name: "New"},
		{Path: "/DC2/vm/web3"},
	}})
	for filter, want := range map[string][]string{
		"":               {"/DC1/vm/Web1", "/DC1/vm/folder/web2", "/DC1/vm/db", "/DC1/vm/old-name"},
		"WEB":            {"/DC1/vm/Web1", "/DC1/vm/folder/web2"},
		" web2 , D":      {"/DC1/vm/folder/web2", "/DC1/vm/db"},
		"web1,web":       {"/DC1/vm/Web1", "/DC1/vm/folder/web2"},
		"ne":             {"/DC1/vm/old-name"},
		"new":            {"/DC1/vm/New"}, // a path that does not exist
		"nothing":        nil,
		"db,":            {"/DC1/vm/Web1", "/DC1/vm/folder/web2", "/DC1/vm/db", "/DC1/vm/old-name"}, // an empty part is in every name
		"/DC1/vm/Web1":   nil,
		"old-name,web1x": nil,
	} {
		var got []string
		for _, vm := range discovered(t, server, "DC1", filter) {
			got = append(got, vm["path"].(string))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("filter %q (-want +got):\n%s", filter, diff)
		}
	}
	status, text := post(t, server.URL+"/api/v1/discover", `{"datacenter":"DC9"}`)
	if status != 500 || !strings.Contains(text, "failed to find datacenter DC9") {
		t.Errorf("%d %s", status, text)
	}
}

func TestDiscoverTellsWhatTheRealOneDoes(t *testing.T) {
	m := newMachine(t, "raw", mib)
	m.vm.Disks[0].CapacityBytes = 1<<30 + 512
	clone := m.vm
	m.vm.ID = "42175abf-2e25-a7b3-1b1e-2e6f5e5a1c11"
	clone.ID, clone.Path = m.vm.ID, "/DC1/vm/clone"
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm, clone}})
	vms := discovered(t, server, "DC1", "")
	if len(vms) != 2 || vms[0]["id"] != m.vm.ID || vms[1]["id"] != m.vm.ID {
		t.Fatalf("%+v", vms)
	}
	disk := vms[0]["disks"].([]any)[0].(map[string]any)
	if disk["size_gb"] != 2.0 || disk["id"] != "disk-2000" {
		t.Errorf("%+v", disk)
	}
	if vms[0]["guest_os"] != "linux" || vms[0]["cpus"] != 0.0 || vms[0]["num_cpu"] != 2.0 {
		t.Errorf("%+v", vms[0])
	}
	// Every name that the API has, the empty ones too.
	names := []string{
		"id", "name", "path", "datacenter", "power_state", "guest_os", "memory_mb", "num_cpu", "cpus", "os_type", "vmx_version", "display_name",
		"annotation", "folder_path", "vmware_tools_status", "vmware_tools_version", "disks", "networks",
	}
	for _, name := range names {
		if _, has := vms[0][name]; !has {
			t.Errorf("no %s", name)
		}
	}
	if len(vms[0]) != len(names) {
		t.Errorf("%+v", vms[0])
	}
	network := vms[0]["networks"].([]any)[0].(map[string]any)
	if network["adapter_type"] != "vmxnet3" || !strings.HasPrefix(network["mac_address"].(string), "00:50:56:") {
		t.Errorf("%+v", network)
	}
}

// TestAPathIsAPattern, and the VM that was found gives its name to the questions.
func TestAPathIsAPattern(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", mib)
	m.vm.Path = "/DC1/vm/web1"
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
	request := m.request(job1)
	request.VMPath = "/DC1/vm/web[1]" // which is another VM, or none
	startAsIs(ctx, t, server, request)
	if run := finished(ctx, t, server, job1); run.VM != "/DC1/vm/web1" || !slices.Contains(h.seen(), "changeid web1 0") {
		t.Errorf("%+v, %q", run, h.seen())
	}
}
