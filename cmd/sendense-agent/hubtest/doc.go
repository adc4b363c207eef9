// Package hubtest is a hub as tests use one: the daemon, sendensectl and a simulated SNA as processes, as they are built and installed,
// in a machine with a systemd of its own. Tests look at it from outside, as operators and programs do.
//
// The tests are in the packages below, one for each theme, which go test runs in parallel. Each of them boots a machine of its own:
//
//	func TestMain(m *testing.M) { hubtest.Main(m) }
//
//	commands    what people and programs type and send: sendensectl, completion, raw JSON, who may
//	diagnosis   the doctor: what it finds, and that it finds nothing where nothing is wrong; the generator
//	guestfiles  single files out of a disk, through a virtual machine
//	monitoring  metrics, alerts, dashboard, logs, reload, and the documents that describe them
//	restores    restores, verification, damage, prune
//	survival    the daemon is killed, its database or a key is lost, two hundred clients come at once
//
// One hub at a time in a machine: it has the sockets, ports and names of units that it has where it is installed. It is not what kills
// the daemon at every point, see crashtest, nor what reboots the machine, see reboottest.
package hubtest
