package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/host"
	"github.com/sendense/backup-agent/cmd/internal/bench/rival"
)

// trials are the properties whose cost is measured: the same pair without them.
var trials = []struct {
	told    string
	without []string
}{
	{"(the whole pair)", nil},
	{fromDropIn, sandboxProperties},
	{"all seccomp filters", []string{
		"SystemCallFilter", "SystemCallArchitectures", "SystemCallErrorNumber", "RestrictAddressFamilies", "RestrictNamespaces", "LockPersonality",
		"MemoryDenyWriteExecute", "RestrictRealtime", "RestrictSUIDSGID", "ProtectClock", "ProtectKernelLogs", "ProtectKernelModules", "ProtectHostname",
	}},
	{"all mounts", []string{
		"ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs",
		"ProtectControlGroups", "ProtectProc", "ProcSubset", "PrivateIPC", "TemporaryFileSystem", "BindPaths",
	}},
	{"SystemCallFilter", []string{"SystemCallFilter", "SystemCallErrorNumber"}},
	{"ProtectKernelTunables", []string{"ProtectKernelTunables"}},
	{"PrivateDevices", []string{"PrivateDevices"}},
	{"PrivateNetwork, PrivateIPC, PrivateUsers", []string{"PrivateNetwork", "PrivateIPC", "PrivateUsers"}},
	{"filters and accounting of the socket", []string{"socket:IPAddressAllow", "socket:IPAddressDeny", "socket:IPAccounting"}},
}

// fromDropIn sends no sandbox: it comes from a drop-in for all units with the prefix.
const fromDropIn = "(nothing: the sandbox comes from a drop-in)"

// sandboxProperties are those of units/pair/sandbox.go that a unit file can contain unchanged.
var sandboxProperties = []string{
	"NoNewPrivileges", "CapabilityBoundingSet", "AmbientCapabilities", "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateUsers",
	"PrivateIPC", "PrivateNetwork", "DevicePolicy", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups",
	"ProtectClock", "ProtectHostname", "ProtectProc", "ProcSubset", "RemoveIPC", "IPAddressDeny", "SystemCallArchitectures", "SystemCallFilter",
	"SystemCallErrorNumber", "RestrictAddressFamilies", "RestrictNamespaces", "LockPersonality", "MemoryDenyWriteExecute", "RestrictRealtime",
	"RestrictSUIDSGID", "UMask", "KeyringMode",
}

const sandboxDropIn = `[Service]
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=tmpfs
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateIPC=yes
PrivateNetwork=yes
DevicePolicy=closed
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
ProcSubset=pid
RemoveIPC=yes
IPAddressDeny=any
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
RestrictAddressFamilies=none
RestrictNamespaces=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
UMask=0077
KeyringMode=private
`

// dropIn adds the drop-in, or removes it.
func dropIn(ctx context.Context, wanted bool) error {
	dir := filepath.Join("/run/systemd/system", rival.FloorPrefix+".service.d")
	if !wanted {
		return errors.Join(os.RemoveAll(dir), host.Run(ctx, "systemctl", "daemon-reload"))
	}
	return errors.Join(
		os.MkdirAll(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "sandbox.conf"), []byte(sandboxDropIn), 0o644),
		host.Run(ctx, "systemctl", "daemon-reload"),
	)
}

// measureUnit measures systemd's CPU time for a start by property. A busy machine changes CPU time little.
func measureUnit(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title: "What a pair of units costs",
		Method: "CPU time to start and remove one pair, in milliseconds: of PID 1, which has one thread and so limits how many pairs can start in a second, " +
			"and of its children, which set up the sandbox and run qemu-nbd. The rows without some properties show their cost.",
		Head: []string{"pair without", "ms of PID 1", "over the whole", "ms of children", "over the whole"},
	}
	f, err := rival.NewFloor(ctx, s.disk)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	own, children := figures.Times{}, figures.Times{}
	for round := range s.rounds + 1 {
		for _, trial := range trials {
			f.Without = trial.without
			if err := dropIn(ctx, trial.told == fromDropIn); err != nil {
				return p, err
			}
			a, b, err := f.CPU(ctx)
			if err != nil {
				return p, fmt.Errorf("without %s: %w", trial.told, err)
			}
			if round > 0 {
				own[trial.told] = append(own[trial.told], a)
				children[trial.told] = append(children[trial.told], b)
			}
		}
	}
	for i, trial := range trials {
		told, a, b := trial.told, "", ""
		if i > 0 {
			a, b = own.Ratio(told, trials[0].told).String(), children.Ratio(told, trials[0].told).String()
		}
		p.Add(told, own.Of(told).String(), a, children.Of(told).String(), b)
	}
	return p, nil
}
