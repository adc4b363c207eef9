package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// pairsOfUnit is how many pairs are started for one figure: CPU time of children is told in hundredths of a second.
const pairsOfUnit = 16

// trials are the properties of which is told what they cost: the same pair without them.
var trials = []struct {
	told    string
	without []string
}{
	{"(the whole pair)", nil},
	{fromDropIn, sandboxProperties},
	{"all that becomes a seccomp filter", []string{
		"SystemCallFilter", "SystemCallArchitectures", "SystemCallErrorNumber", "RestrictAddressFamilies", "RestrictNamespaces", "LockPersonality",
		"MemoryDenyWriteExecute", "RestrictRealtime", "RestrictSUIDSGID", "ProtectClock", "ProtectKernelLogs", "ProtectKernelModules", "ProtectHostname",
	}},
	{"all that takes mounts", []string{
		"ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs",
		"ProtectControlGroups", "ProtectProc", "ProcSubset", "PrivateIPC", "TemporaryFileSystem", "BindPaths",
	}},
	{"SystemCallFilter", []string{"SystemCallFilter", "SystemCallErrorNumber"}},
	{"ProtectKernelTunables", []string{"ProtectKernelTunables"}},
	{"PrivateDevices", []string{"PrivateDevices"}},
	{"PrivateNetwork, PrivateIPC, PrivateUsers", []string{"PrivateNetwork", "PrivateIPC", "PrivateUsers"}},
	{"filters and accounting of the socket", []string{"socket:IPAddressAllow", "socket:IPAddressDeny", "socket:IPAccounting"}},
}

// fromDropIn leaves the sandbox out of what is sent: a drop-in for all units whose names begin so brings it.
const fromDropIn = "(nothing: the sandbox comes from a drop-in)"

// sandboxProperties are those of units/pair/sandbox.go that a file can hold as they are.
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

// dropIn puts the drop-in there, or takes it away.
func dropIn(ctx context.Context, wanted bool) error {
	dir := filepath.Join("/run/systemd/system", floorPrefix+".service.d")
	if !wanted {
		return errors.Join(os.RemoveAll(dir), run(ctx, "systemctl", "daemon-reload"))
	}
	return errors.Join(
		os.MkdirAll(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "sandbox.conf"), []byte(sandboxDropIn), 0o644),
		run(ctx, "systemctl", "daemon-reload"),
	)
}

// measureUnit tells where the time of a start goes that is systemd's: CPU time, which a busy machine changes little.
func measureUnit(ctx context.Context, s settings) (p part, err error) {
	p = part{
		title: "What a pair of units costs",
		method: "CPU time to start and remove one pair, in milliseconds: of PID 1, which does one thing at a time and so bounds how many pairs a second " +
			"can start, and of the children it waited for, the sandbox being set up and qemu-nbd itself. Without some properties, what these cost.",
		head: []string{"pair without", "ms of PID 1", "over the whole", "ms of children", "over the whole"},
	}
	f, err := newFloor(ctx, s.disk)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	own, children := times{}, times{}
	for round := range s.rounds + 1 {
		for _, trial := range trials {
			f.without = trial.without
			if err := dropIn(ctx, trial.told == fromDropIn); err != nil {
				return p, err
			}
			a, b, err := f.cpu(ctx)
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
			a, b = own.ratio(told, trials[0].told).String(), children.ratio(told, trials[0].told).String()
		}
		p.add(told, own.of(told).String(), a, children.of(told).String(), b)
	}
	return p, nil
}

// cpu starts and removes pairs, and tells what one of them cost PID 1 and its children.
func (f *floor) cpu(ctx context.Context) (own, children time.Duration, err error) {
	images, err := f.images(ctx, pairsOfUnit, diskOfStart)
	if err != nil {
		return 0, 0, err
	}
	dir := filepath.Dir(images[0])
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	specs, err := f.specs(images)
	if err != nil {
		return 0, 0, errors.Join(err, f.give(dir))
	}
	own0, children0, err := cpuOf(1)
	if err != nil {
		return 0, 0, err
	}
	if err := errors.Join(f.give(dir), f.start(ctx, specs), f.remove(ctx, specs)); err != nil {
		return 0, 0, err
	}
	own1, children1, err := cpuOf(1)
	return (own1 - own0) / pairsOfUnit, (children1 - children0) / pairsOfUnit, err
}

// cpuOf is the CPU time of a process, its threads and the children that it waited for (proc(5), stat).
func cpuOf(pid int) (own, children time.Duration, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may hold anything
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return 0, 0, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	var ticks [4]time.Duration
	for i, field := range fields[11:15] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0, err
		}
		ticks[i] = time.Duration(n) * time.Second / 100 // USER_HZ
	}
	return ticks[0] + ticks[1], ticks[2] + ticks[3], nil
}
