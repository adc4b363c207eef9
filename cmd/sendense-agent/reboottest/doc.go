// Package reboottest holds a test that restarts the host: it ends a machine with everything in it at once, in the midst of
// a backup, boots another one on the same directories, and looks what the daemon there makes of them.
package reboottest
