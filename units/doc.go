// Package units runs commands as pairs of transient systemd units over D-Bus: a socket on which
// systemd listens, and the service that serves it. It knows nothing of what the commands do.
//
// # The pair
//
// One call, StartTransientUnit with the socket as auxiliary unit, makes and starts both:
//
//	NAME.socket   Listen=127.0.0.1:PORT  NoDelay  IPAccounting   BindsTo=NAME.service
//	NAME.service  Type=forking  RemainAfterExit  CollectMode=inactive  Requires=,After=NAME.socket
//
// The command gets the listening socket as file descriptor 3. Because its parent exits only when it
// serves, the start job's end means serving: there is no polling, and no gap in which another process
// could take the port. A busy port fails the job within a tenth of a second.
//
// # Its life
//
//	Start ──► running ──► ended (exited or failed) ──► Remove ──► gone
//	              │         ▲
//	              └─Terminate
//
// An ended pair stays loaded, with Result, exit status, InvocationID and traffic counters, until
// Remove: also when nobody was connected while it ended, and across daemon-reload and daemon-reexec.
// It has exactly one life: no client starts it a second time, whatever ended it.
//
// # Facts
//
// Found with systemd 252, and held by the tests of this package:
//
//   - A service that exits with status 0 stays (active, exited), one that fails stays (failed, failed).
//     A death by SIGTERM is Result=success with ExecMainCode 2: ask [Unit.Clean], not Result.
//   - A socket whose service has failed listens again and starts it anew for the next client.
//     StartLimitBurst=1 alone does not prevent that: daemon-reload and daemon-reexec forget the
//     count. BindsTo= takes the socket down with its service. After a clean exit the socket stays
//     up, and clients connect and wait for an answer that never comes: Remove the pair.
//   - The counters of a socket that is down are lost at daemon-reload; those of one that is up are not.
//   - ExecStartEx is written to the transient unit's file as a key that systemd does not read back:
//     the unit breaks at daemon-reload. Variables are therefore escaped in plain ExecStart.
//     Specifiers (%n) are not expanded in what comes over D-Bus.
//   - With PrivateTmp a unit name is limited to 199 bytes, not 255; see [pair.MaxNameLen].
//   - A socket unit's Result is "resources" for every reason for which it cannot listen.
//   - qemu-nbd loses a SIGTERM that arrives right after it began to serve; Terminate and Remove send
//     it again.
//   - Reading the properties of an unknown unit loads it, and sends signals about that.
//
// # Connection
//
// A Manager talks to the system bus, or to a user's service manager at its own socket. When the bus
// is restarted or the service manager re-executes itself, calls that only read or can be repeated
// are repeated, and a start is asked for again under the same name, which can start only once. Calls
// wait for the connection as long as their context lets them.
package units
