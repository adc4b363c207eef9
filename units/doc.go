// Package units runs commands as pairs of transient systemd units over D-Bus: a socket on which
// systemd listens, and the service that serves it. It starts, watches and stops pairs; what a pair is
// (its specification, properties and sandbox) is package pair. It does not know what the commands do,
// and it keeps nothing on disk: all state is systemd's.
//
// # The pair
//
// One call, StartTransientUnit with the socket as auxiliary unit, creates and starts both:
//
//	NAME.socket   Listen=127.0.0.1:PORT  NoDelay  IPAccounting   BindsTo=NAME.service
//	NAME.service  Type=forking  RemainAfterExit  CollectMode=inactive  Requires=,After=NAME.socket
//
// The command inherits the listening socket as file descriptor 3. Its parent process exits when the
// child serves, so the end of the start job means that the command serves: there is no polling, and no
// gap in which another process could take the port. If the port is in use, the job fails within a
// tenth of a second.
//
// # States
//
//	Start ──► running ──► ended (exited or failed) ──► Remove ──► gone
//	              │         ▲
//	              └─Terminate
//
// An ended pair stays loaded, with Result, exit status, InvocationID and traffic counters, until
// Remove: also if no Manager was connected when it ended, and across daemon-reload and daemon-reexec.
// It runs exactly once: no client can start it a second time, however it ended.
//
// # Facts
//
// Found with systemd 252, and checked by the tests of this package:
//
//   - A service that exits with status 0 stays (active, exited), one that fails stays (failed, failed).
//     After a death by SIGTERM, Result is "success" and ExecMainCode 2: use [Unit.Clean], not Result.
//   - A socket whose service has failed listens again and starts it again for the next client.
//     StartLimitBurst=1 alone does not prevent that: daemon-reload and daemon-reexec reset the
//     count. BindsTo= stops the socket with its service. After a clean exit the socket stays active,
//     and clients connect and wait for an answer that never comes: Remove the pair.
//   - daemon-reload resets the counters of a stopped socket, but not those of an active one.
//   - systemd writes ExecStartEx to the transient unit's file as a key that it does not read back:
//     the unit is broken after daemon-reload. So variables are escaped in plain ExecStart. Specifiers
//     (%n) are not expanded in properties that come over D-Bus.
//   - With PrivateTmp the limit of a unit name is 199 bytes, not 255; see [pair.MaxNameLen].
//   - If a socket unit cannot listen, its Result is "resources", whatever the reason.
//   - systemd guesses the main process of a forking service, and on a busy machine finds none or a wrong one: then MainPID is 0 while
//     the service runs, or the service counts as exited. Start starts such a pair again; see ErrMainUnknown and [Unit.Running].
//   - qemu-nbd loses a SIGTERM that arrives right after it began to serve; Terminate and Remove send
//     it again.
//   - To read the properties of an unknown unit loads it, and sends signals about that.
//
// # Connection
//
// A Manager talks to the system bus, or to a user's service manager at its own socket. If the bus
// restarts or the service manager re-executes itself, the Manager connects again and repeats calls. A
// start is repeated under the same name, which can start only once. Calls wait for the connection
// until their context ends.
package units
