// Package crashtest holds tests that kill the daemon, break what is around it, or take the power away, and look at what is left.
//
// The daemon is built with the tag "failpoints" and runs as a service of a real systemd, against a simulated SNA in the
// test's own process. TestMatrix learns which points each operation reaches, kills the daemon with SIGKILL at each of
// them, starts it again and checks the invariants of ARCHITECTURE.md from outside. TestRandom kills it at random moments
// of random requests; with go test -race, its daemon is the one that has the race detector too.
//
// TestFaults breaks one thing at a time: the SNA's answers, exporters, parents, the repository, the state directory, the
// database, the clock, the socket; TestFaultsOfTheMachine systemd and its bus. TestUpgrade replaces the program in mid-copy.
//
// TestPowerLoss takes the power away from the whole machine: see docs/decisions/0009-power-loss.md.
package crashtest
