package agenttest

import (
	"os"
	"os/exec"
	"testing"
)

// Itoa returns n in decimal; n must be positive.
func Itoa(n int) string {
	s := ""
	for ; n > 0; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}

// Rebase makes an image name another backing file.
func Rebase(t testing.TB, image, backing, format string) {
	t.Helper()
	Must(t, os.Chmod(image, 0o600))
	out, err := exec.Command("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", backing, "-F", format, image).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	Must(t, os.Chmod(image, 0o440))
}
