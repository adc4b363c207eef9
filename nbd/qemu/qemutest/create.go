// Package qemutest makes images for tests that run qemu-img themselves. Only tests import it. What the agent makes, it makes with package
// qemu.
package qemutest

import (
	"bytes"
	"os/exec"
	"testing"
)

// QEMU up to 8.2 fails to make an encrypted image if the kernel reports no progress of its processor time, which is counted in ticks
// (crypto/pbkdf.c). On a busy machine that happens in one of ten tries.
const (
	noProgress = "Unable to get accurate CPU usage"
	tries      = 12
)

// Create runs "qemu-img create -q -f qcow2" with more arguments. It tries again if QEMU cannot measure its processor time.
func Create(t testing.TB, args ...string) {
	t.Helper()
	args = append([]string{"create", "-q", "-f", "qcow2"}, args...)
	for try := 1; ; try++ {
		output, err := exec.Command("qemu-img", args...).CombinedOutput()
		switch {
		case err == nil:
			return
		case try == tries || !bytes.Contains(output, []byte(noProgress)):
			t.Fatalf("qemu-img %q: %v: %s", args, err, output)
		}
	}
}
