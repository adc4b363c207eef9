package snatest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/sendense/backup-agent/agent/sna/snatest/vcenter"
)

type discoverBody struct {
	VCenter    string `json:"vcenter"`
	Username   string `json:"username"`
	Password   string `json:"password"`
	Datacenter string `json:"datacenter"`
	Filter     string `json:"filter"`
}

// handleDiscover lists the VMs of one datacenter. It is an error if there is none, but
// not if none passes the filter.
func (s *Server) handleDiscover(w http.ResponseWriter, r *http.Request) {
	var request discoverBody
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&request); err != nil {
		plain(w, http.StatusBadRequest, fmt.Sprintf("Invalid request: %v", err))
		return
	}
	if text := s.currentFaults().DiscoverFails; text != "" {
		plain(w, http.StatusInternalServerError, "Discovery failed: "+text)
		return
	}
	all, err := s.discover(request)
	if err != nil {
		plain(w, http.StatusInternalServerError, fmt.Sprintf("Discovery failed: failed to discover VMs from vCenter: failed to discover VMs: %v", err))
		return
	}
	vms := []map[string]any{}
	for _, vm := range filtered(all, request.Filter) {
		vms = append(vms, discovered(vm, request.Datacenter))
	}
	writeJSON(w, map[string]any{
		"vcenter": map[string]string{"host": request.VCenter, "datacenter": request.Datacenter},
		"vms":     vms,
	})
}

func (s *Server) discover(request discoverBody) ([]vcenter.VM, error) {
	all := s.vcenter.VMs()
	var found []vcenter.VM
	for _, vm := range all {
		if matched, err := path.Match(request.Datacenter, datacenterOf(vm)); err != nil {
			return nil, err
		} else if matched {
			found = append(found, vm)
		}
	}
	if len(all) > 0 && len(found) == 0 {
		return nil, fmt.Errorf("failed to find datacenter %s: datacenter '%s' not found", request.Datacenter, request.Datacenter)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("failed to list VMs: vm '*' not found")
	}
	return found, nil
}

// filtered is filterVMs of the SNA: each part of the filter, without the spaces
// around it, may be anywhere in a name, in any case. If a VM's path does not end in
// its name, and a part of the filter is the whole name, the answered path ends in the
// name, whether there is such a path or not.
func filtered(vms []vcenter.VM, filter string) []vcenter.VM {
	if filter == "" {
		return vms
	}
	var found []vcenter.VM
	for _, vm := range vms {
		for part := range strings.SplitSeq(filter, ",") {
			part = strings.TrimSpace(part)
			if !strings.Contains(strings.ToLower(vm.Name), strings.ToLower(part)) {
				continue
			}
			if vcenter.LastSegment(vm.Path) != vm.Name && strings.EqualFold(vm.Name, part) {
				vm.Path = vm.Path[:strings.LastIndexByte(vm.Path, '/')+1] + vm.Name
			}
			found = append(found, vm)
			break
		}
	}
	return found
}

func datacenterOf(vm vcenter.VM) string { return strings.SplitN(vm.Path, "/", 3)[1] }

// discovered is the VM in an answer of discovery, with the fields of the SNA's API, many
// of which are empty.
func discovered(vm vcenter.VM, datacenter string) map[string]any {
	disks := []map[string]any{}
	for _, disk := range vm.Disks {
		file := fmt.Sprintf("[%s] %s/%s-%d.vmdk", disk.Datastore, vm.Name, vm.Name, disk.Key)
		disks = append(disks, map[string]any{
			"id":                fmt.Sprintf("disk-%d", disk.Key),
			"label":             disk.Label,
			"path":              file,
			"vmdk_path":         file,
			"size_gb":           (disk.CapacityBytes + 1<<30 - 1) >> 30,
			"capacity_bytes":    disk.CapacityBytes,
			"datastore":         disk.Datastore,
			"provisioning_type": "thin",
			"unit_number":       disk.UnitNumber,
		})
	}
	mac := sha256.Sum256([]byte(vm.Path))
	return map[string]any{
		"id":                   vm.ID,
		"name":                 vm.Name,
		"path":                 vm.Path,
		"datacenter":           datacenter,
		"power_state":          "poweredOn",
		"guest_os":             "linux",
		"memory_mb":            4096,
		"num_cpu":              2,
		"cpus":                 0,
		"os_type":              "",
		"vmx_version":          "vmx-19",
		"display_name":         "",
		"annotation":           "",
		"folder_path":          "",
		"vmware_tools_status":  "",
		"vmware_tools_version": "",
		"disks":                disks,
		"networks": []map[string]any{{
			"label":        "Network adapter 1",
			"network_name": "VM Network",
			"adapter_type": "vmxnet3",
			"mac_address":  fmt.Sprintf("00:50:56:%02x:%02x:%02x", mac[0]&0x3f, mac[1], mac[2]),
			"connected":    true,
			"type":         "",
		}},
	}
}
