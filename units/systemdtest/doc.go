// Package systemdtest runs tests inside a machine of their own, whose PID 1 is a real systemd.
//
// It is for package units what net/http/httptest is for net/http, and it is for tests only. One line
// puts every test of a package inside such a machine:
//
//	func TestMain(m *testing.M) { systemdtest.Main(m) }
//
// Main boots a machine and runs the same test binary again inside it: the same arguments,
// environment, working directory and standard streams. So go test with -run, -race, -count, -fuzz,
// -timeout or -coverprofile works as usual, and the tests see an ordinary machine: a system bus, a
// journal, systemctl, their units under their real names, /proc, and an empty /tmp. They see the host's
// files, but all changes go to an overlay in memory and are lost afterwards; only the module's source
// tree, the working directory, the go tool's directories and [DiskDir] are shared with the host.
//
// # How it works
//
// There are five processes. The first four run the same executable (init chooses the role by argv[0]):
//
//	owner       calls Boot: the test binary that the go tool started, or the testbed command
//	 ├─ supervisor   owns the cgroup and the scratch directory; outlives the owner only to clean up
//	 │   └─ stage → systemd   PID 1 of the machine: makes the mounts, then becomes systemd
//	 └─ enter        joins the machine's namespaces; for the owner it is the stand-in of the command
//	     └─ command      the test binary again, or any other command, inside the machine
//
// The supervisor ends the machine when the pipe from its owner closes, also if the owner was killed by
// SIGKILL: it kills the cgroup, removes the cgroup and the scratch directory, and exits. All mounts are
// in the machine's own mount namespace and end with its last process. If the supervisor itself is
// killed, PDEATHSIG kills the machine, and the next Boot removes the cgroup and the directory that are
// left: both have a lock, which ends with its holder.
//
// # What it needs
//
// Linux 5.14 with cgroup v2 mounted somewhere (a hybrid hierarchy is enough), root, and the Debian
// packages systemd and dbus. The host itself need not run systemd: the machine is in a cgroup of its own
// below the caller's, and shares neither names nor sockets with the host.
package systemdtest
