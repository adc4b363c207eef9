// Package systemdtest runs tests inside a machine of their own, whose PID 1 is a real systemd.
//
// It stands beside package units as net/http/httptest stands beside net/http. One line puts every
// test of a package inside such a machine:
//
//	func TestMain(m *testing.M) { systemdtest.Main(m) }
//
// Main boots a machine and runs the same test binary again inside it: the same arguments,
// environment, working directory and standard streams. So go test with -run, -race, -count, -fuzz,
// -timeout or -coverprofile works as ever, and the tests see an ordinary machine: a system bus, a
// journal, systemctl, their units under their real names, /proc, and an empty /tmp. The host's files
// are there, but what is written to them goes to an overlay in memory and is gone afterwards; only
// the module's source tree, the working directory, the go tool's directories and [DiskDir] are
// shared with the host.
//
// # How it works
//
// Five processes take part, the first four made of the same executable ([init] picks the role by
// the name in argv[0]):
//
//	owner       calls Boot: the test binary that the go tool started, or the testbed command
//	 ├─ supervisor   outlives the owner only to clean up: it owns the cgroup and the scratch directory
//	 │   └─ stage → systemd   PID 1 of the machine: builds the mounts, then becomes systemd
//	 └─ enter        joins the machine's namespaces and stands for the command towards the owner
//	     └─ command      the test binary again, or any other command, inside the machine
//
// The supervisor ends the machine when the pipe from its owner closes, which the kernel does even for
// an owner killed by SIGKILL: it kills the cgroup, removes the cgroup and the scratch directory, and
// exits. Every mount lies in the machine's own mount namespace and goes with its last process. If
// the supervisor itself is killed, PDEATHSIG takes the machine along, and the next Boot sweeps the
// cgroup and the directory that stayed behind: both carry a lock, which ends with its holder.
//
// # What it needs
//
// Linux 5.14 with cgroup v2 mounted somewhere (a hybrid hierarchy will do), root, and the Debian
// packages systemd and dbus. Whether the host itself runs systemd does not matter: the machine lives
// in a cgroup of its own below the caller's, and shares neither names nor sockets with the host.
package systemdtest
