//go:build !failpoints

// Package failpoint marks the points at which a crash is of interest: before and after every durable write and every effect
// outside the agent. It injects no errors. In an ordinary build a point costs nothing. A build with the tag "failpoints" stops at
// the point that SENDENSE_FAILPOINT names, so that a test can kill the process there.
package failpoint

// Reach marks a point.
func Reach(string) {}

// Environment returns the settings of the points, for another process of the agent: NAME=value.
func Environment() []string { return nil }
