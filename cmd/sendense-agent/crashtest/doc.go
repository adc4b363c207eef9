// Package crashtest holds tests that kill the daemon and look at what is left.
//
// The daemon is built with the tag "failpoints" and runs as a service of a real systemd, against a simulated SNA in the
// test's own process. TestMatrix learns which points each operation reaches, kills the daemon with SIGKILL at each of
// them, starts it again and checks the invariants of ARCHITECTURE.md from outside. TestRandom kills it at random moments
// of random requests.
package crashtest
