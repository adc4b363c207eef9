package time

import (
	"syscall"
	"unsafe"
)

// skew is how many seconds the clock of this process is off: the first 8 bytes of the file that SENDENSE_CLOCK names, which
// may change at any time.
var skew = mapSkew()

func mapSkew() *int64 {
	path, found := syscall.Getenv("SENDENSE_CLOCK")
	if !found {
		return new(int64)
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("SENDENSE_CLOCK: " + err.Error())
	}
	data, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("SENDENSE_CLOCK: " + err.Error())
	}
	_ = syscall.Close(fd)
	return (*int64)(unsafe.Pointer(&data[0]))
}

// skewedNow is the time as a clock tells it that somebody sets: the wall clock jumps, the monotonic one does not.
func skewedNow() (sec int64, nsec int32, mono int64) {
	sec, nsec, mono = runtimeNow()
	return sec + *skew, nsec, mono
}
