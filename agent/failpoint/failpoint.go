//go:build !failpoints

// Package failpoint names the moments at which a crash is of interest: before and after every durable write and every
// effect outside of the agent. In an ordinary build they cost nothing. Built with the tag "failpoints" the process stops at
// the one that SENDENSE_FAILPOINT names, so that a test can kill it right there.
package failpoint

// Reach marks a moment.
func Reach(string) {}
