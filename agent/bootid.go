package agent

import (
	"bytes"
	"os"
)

// bootID returns the kernel's id of the present boot; "" if it cannot be read.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(text))
}
