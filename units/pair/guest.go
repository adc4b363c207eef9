package pair

import (
	"fmt"
	"os/user"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
)

// A Guest has the limits of a command that runs a virtual machine.
type Guest struct {
	MemoryBytes  uint64        // memory of all its processes, with the files in its /tmp and /var/tmp
	ScratchBytes uint64        // size of its /var/tmp, which is in memory; it can write there and to a small /tmp only
	Tasks        uint64        // number of processes and threads
	Lifetime     time.Duration // time after which it is killed
}

// sandbox confines a guest. It is that of an exporter, except that a guest may connect to this host's loopback, on which
// NBD is served; may generate code at run time, as QEMU does without KVM; and may use KVM if the host has it. All that it can write
// is of limited size. Spec.User should be used by nothing else, so that a guest cannot signal an exporter. DynamicUser= would do
// that, but does not work with a /tmp of limited size.
func (g *Guest) sandbox(ofUser bool) []systemd.Property {
	var props []systemd.Property
	for _, p := range sandbox() {
		switch p.Name {
		// These are too strict. Its virtual machine is built from the kernel and its modules, so it must read them; the system call
		// filter keeps it from loading any.
		case "PrivateDevices", "PrivateNetwork", "PrivateTmp", "ProtectKernelModules", "IPAddressDeny", "MemoryDenyWriteExecute", "RestrictAddressFamilies":
			continue
		}
		props = append(props, p)
	}
	props = append(props,
		// The command needs it to confine what it runs further.
		property("SystemCallFilter", callFilter{true, []string{"seccomp"}}),
		property("IPAddressDeny", anyAddress()),
		property("IPAddressAllow", localAddresses()),
		property("RestrictAddressFamilies", callFilter{true, []string{"AF_UNIX", "AF_INET", "AF_INET6"}}),
		property("MemoryMax", g.MemoryBytes),
		property("MemorySwapMax", uint64(0)),
		property("TasksMax", g.Tasks),
		property("RuntimeMaxUSec", uint64(g.Lifetime.Microseconds())),
		property("LimitCORE", uint64(0)),
		property("OOMPolicy", "kill"),
		property("NotifyAccess", "main"),
		property("BindReadOnlyPaths", []bindMount{{notifySocket, notifySocket, false, 0}}),
	)
	// No check whether KVM exists: the daemon cannot see it, and the service manager ignores the rule if it does not.
	if group, err := user.LookupGroup("kvm"); err == nil && !ofUser {
		props = append(props, property("DeviceAllow", []deviceRule{{"/dev/kvm", "rw"}}), property("SupplementaryGroups", []string{group.Name}))
	}
	return props
}

const notifySocket = "/run/systemd/notify"

// emptyDirs are covered by empty directories: sockets in /run would answer any process that connects.
func (g *Guest) emptyDirs() []emptyDir {
	if g == nil {
		return nil
	}
	return []emptyDir{
		{"/run", "ro"},
		{"/tmp", "mode=1777,nosuid,nodev,size=4M"}, // for sockets
		{"/var/tmp", fmt.Sprintf("mode=1777,nosuid,nodev,size=%d", g.ScratchBytes)},
	}
}

// deviceRule is the D-Bus type (ss): path and access.
type deviceRule struct{ Path, Access string }
