package sna

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// DiscoverRequest names the vCenter to list. All but Filter are required.
type DiscoverRequest struct {
	VCenter    string
	Username   string
	Password   string
	Datacenter string
	// Filter limits the list to VMs whose names contain one of its comma-separated
	// parts, in any case; empty lists all.
	Filter string
}

// DiscoveredVM is one VM of the inventory.
type DiscoveredVM struct {
	ID         string           `json:"id"` // config.uuid, which clones may share
	Name       string           `json:"name"`
	Path       string           `json:"path"` // inventory path, such as "/DC1/vm/pgtest1"
	Datacenter string           `json:"datacenter"`
	PowerState string           `json:"power_state"`
	GuestOS    string           `json:"guest_os"`
	MemoryMB   int              `json:"memory_mb"`
	CPUs       int              `json:"num_cpu"`
	Disks      []DiscoveredDisk `json:"disks"`
}

// DiscoveredDisk is one virtual disk.
type DiscoveredDisk struct {
	ID               string `json:"id"` // "disk-<VirtualDisk.Key>"
	Label            string `json:"label"`
	Path             string `json:"path"`
	VMDKPath         string `json:"vmdk_path"`
	CapacityBytes    int64  `json:"capacity_bytes"`
	SizeGB           int    `json:"size_gb"`
	UnitNumber       int    `json:"unit_number"` // on its controller, not in the VM
	Datastore        string `json:"datastore"`
	ProvisioningType string `json:"provisioning_type"`
}

// Key returns the VirtualDisk.Key of the disk, by which SBC finds its NBD target.
func (d DiscoveredDisk) Key() (int, error) { return ParseDiskKey(d.ID) }

// ParseDiskKey returns the key, 0 to 2^31-1, in a disk id of discovery,
// "disk-2000". Only the decimal form that SBC prints is accepted, because SBC
// compares keys as strings.
func ParseDiskKey(id string) (int, error) {
	digits, found := strings.CutPrefix(id, "disk-")
	key, err := strconv.ParseInt(digits, 10, 32)
	if !found || err != nil || key < 0 || strconv.FormatInt(key, 10) != digits {
		return 0, fmt.Errorf("disk id %q: not of the form disk-<VirtualDisk.Key>", id)
	}
	return int(key), nil
}

// discoverBody is the request on the wire.
type discoverBody struct {
	VCenter    string `json:"vcenter"`
	Username   string `json:"username"`
	Password   string `json:"password"`
	Datacenter string `json:"datacenter"`
	Filter     string `json:"filter,omitempty"`
}

// Discover lists the VMs of a vCenter with their disks. It changes nothing, and
// may be called again.
func (c *Client) Discover(ctx context.Context, request DiscoverRequest) ([]DiscoveredVM, error) {
	for _, field := range []struct{ name, value string }{
		{"vcenter", request.VCenter},
		{"username", request.Username},
		{"password", request.Password},
		{"datacenter", request.Datacenter},
	} {
		if field.value == "" {
			return nil, invalid(field.name, "is empty")
		}
	}
	body, err := json.Marshal(discoverBody(request))
	if err != nil {
		return nil, fmt.Errorf("sna discover: %w", err)
	}
	got, err := c.exchange(ctx, call{
		name:    "discover",
		method:  http.MethodPost,
		path:    "/api/v1/discover",
		body:    body,
		timeout: c.options.DiscoverTimeout,
		limit:   maxDiscoverAnswer,
		secrets: []string{request.Password},
	})
	if err != nil {
		return nil, err
	}
	var inventory struct {
		VMs []DiscoveredVM `json:"vms"`
	}
	if err := got.decode("discover", &inventory); err != nil {
		return nil, err
	}
	return inventory.VMs, nil
}
