package systemdtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// stageOrders describe the machine to the stage.
type stageOrders struct {
	Marker      marker
	Binds       []string
	Root        string
	Sysusers    string
	FullBoot    bool
	HostNetwork bool
	Notify      string
}

// becomeSystemd is the role that becomes the machine's PID 1. It starts in new mount, PID, IPC, UTS and
// network namespaces and in the machine's cgroup.
func becomeSystemd() error {
	var orders stageOrders
	if err := json.Unmarshal([]byte(os.Getenv(stageEnv)), &orders); err != nil {
		return fmt.Errorf("read the orders: %w", err)
	}
	// Only now, in the machine's cgroup: the current cgroup becomes the root of the new namespace. Like
	// the mounts below, the namespace belongs to this thread, which survives execve.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("unshare the cgroup namespace: %w", err)
	}
	if err := changeRoot(orders.Root, orders.Binds); err != nil {
		return err
	}
	if !orders.HostNetwork {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	if err := unix.Sethostname([]byte("systemdtest")); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := furnish(orders); err != nil {
		return err
	}
	return execSystemd(orders)
}

// furnish writes the few files in which the machine differs from its host.
func furnish(orders stageOrders) error {
	data, err := json.Marshal(orders.Marker)
	if err != nil {
		return err
	}
	// A container as host often has no machine ID, and journald does not start without one.
	machineID := strings.Repeat("0", 32-len(orders.Marker.Name)+len(namePrefix)) + strings.TrimPrefix(orders.Marker.Name, namePrefix)
	files := map[string]string{
		markerFile:        string(data),
		"/etc/hostname":   "systemdtest\n",
		"/etc/machine-id": machineID + "\n",
		"/etc/systemd/journald.conf.d/systemdtest.conf": "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nForwardToSyslog=no\n",
	}
	for name, content := range unitFiles(orders.FullBoot) {
		files[name] = content
	}
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	if err := linkUnits(orders.FullBoot); err != nil {
		return err
	}
	if orders.Root != "" && orders.Sysusers == "" {
		return nil
	}
	return makeUsers(orders.Sysusers)
}

// makeUsers adds users and groups to the machine's own /etc/passwd and /etc/group.
func makeUsers(sysusers string) error {
	if sysusers == "" {
		sysusers = DefaultSysusers
	}
	cmd := exec.Command("systemd-sysusers", "-")
	cmd.Stdin = strings.NewReader(sysusers)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the machine's users: systemd-sysusers: %w: %s", err, out)
	}
	return nil
}

// execSystemd replaces this process by systemd. It only returns after an error.
func execSystemd(orders stageOrders) error {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		// See systemd(1). With a container manager, systemd does not touch the host's clocks, modules and
		// kernel parameters, and reports the end of the boot on this socket.
		"container=systemdtest",
		"NOTIFY_SOCKET=" + orders.Notify,
	}
	target := "multi-user.target"
	if !orders.FullBoot {
		target = defaultTarget
		env = append(env,
			"SYSTEMD_UNIT_PATH="+strings.Join(unitSearchPath, ":"),
			"SYSTEMD_GENERATOR_PATH="+GeneratorDir,
			"SYSTEMD_ENVIRONMENT_GENERATOR_PATH="+filepath.Join(unitDir, "no-generators"))
	}
	path := firstExisting(systemdPaths)
	err := unix.Exec(path, []string{path, "--system", "--unit=" + target, "--show-status=no"}, env)
	return fmt.Errorf("exec %s: %w", path, err)
}
