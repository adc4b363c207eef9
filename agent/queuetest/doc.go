// Package queuetest has the tests of what the repositories share and must not: the queue, the slots for reading images, the lines of
// verifications, prunes and merges. One repository hangs, is slow or is paused, and the other one works.
package queuetest
