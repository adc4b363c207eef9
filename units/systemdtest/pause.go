package systemdtest

import "time"

// Pause sleeps before a test looks again at what it waits for. It sleeps longer the longer the wait: looks cost processor time, most of
// all at a program with the race detector, and on a busy machine waits are long.
func Pause(began time.Time) {
	time.Sleep(min(max(time.Since(began)/20, 5*time.Millisecond), 60*time.Millisecond))
}
