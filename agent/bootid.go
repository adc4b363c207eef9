package agent

import (
	"bytes"
	"os"
)

// bootID is the kernel's name for the time since the host was started; "" if it does not tell.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(text))
}
