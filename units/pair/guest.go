package pair

import (
	"fmt"
	"os/user"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
)

// A Guest says what a command may use that runs a virtual machine.
type Guest struct {
	MemoryBytes  uint64        // of all its processes, with what lies in its directories
	ScratchBytes uint64        // of its /var/tmp, which is in memory and, beside a small /tmp, is all that it can write
	Tasks        uint64        // processes and threads
	Lifetime     time.Duration // after which it is killed
}

// sandbox confines a guest: as an exporter's, but that it may reach this host's loopback, on which NBD is served; may make
// code at run time, as QEMU does without KVM; and may use KVM where there is. All that it can write is of limited
// size. Spec.User should be nobody else's, so that it can signal no
// exporter. DynamicUser= would be, and cannot be had with a /tmp of limited size.
func (g *Guest) sandbox(ofUser bool) []systemd.Property {
	var props []systemd.Property
	for _, p := range sandbox() {
		switch p.Name {
		// Too tight: what it runs is made of the kernel and its modules, which the filter of system calls keeps from being loaded.
		case "PrivateDevices", "PrivateNetwork", "PrivateTmp", "ProtectKernelModules", "IPAddressDeny", "MemoryDenyWriteExecute", "RestrictAddressFamilies":
			continue
		}
		props = append(props, p)
	}
	props = append(props,
		// With it the command takes more from what it runs.
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
	// Whether there is KVM is not asked: the daemon does not see it, and the service manager lets it pass where there is none.
	if group, err := user.LookupGroup("kvm"); err == nil && !ofUser {
		props = append(props, property("DeviceAllow", []deviceRule{{"/dev/kvm", "rw"}}), property("SupplementaryGroups", []string{group.Name}))
	}
	return props
}

const notifySocket = "/run/systemd/notify"

// emptyDirs are covered: what is in /run answers whoever connects.
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

// deviceRule is the D-Bus type (ss): path and what may be done with it.
type deviceRule struct{ Path, Access string }
