// Package iomode says how qemu-nbd reads and writes images: which of its cache and aio modes work in a directory.
package iomode

import "fmt"

// Mode is how qemu-nbd reads and writes an image file.
type Mode struct {
	Cache string // "none" (O_DIRECT) or "writeback" (page cache)
	AIO   string // "io_uring", "native" (Linux AIO, only with cache "none") or "threads"
}

// Buffered works on every file system: the page cache and worker threads.
var Buffered = Mode{Cache: "writeback", AIO: "threads"}

func (m Mode) String() string {
	return "cache=" + m.Cache + " aio=" + m.AIO
}

// Validate refuses modes that lose data and modes with which qemu-nbd does not
// start. cache=unsafe is never allowed: it does not write to the disk even on a
// flush.
func (m Mode) Validate() error {
	switch m.Cache {
	case "none", "writeback":
	default:
		return fmt.Errorf("cache mode %q: use none or writeback", m.Cache)
	}
	switch m.AIO {
	case "io_uring", "threads":
	case "native":
		if m.Cache != "none" {
			return fmt.Errorf("aio mode native: needs cache mode none, not %s", m.Cache)
		}
	default:
		return fmt.Errorf("aio mode %q: use io_uring, native or threads", m.AIO)
	}
	return nil
}
