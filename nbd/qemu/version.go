package qemu

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/units/spawn"
)

// Version returns the version of QEMU, such as "7.2.22", with the distribution's addition: the first line that qemu-img --version
// prints, without "qemu-img version".
func (t Tools) Version(ctx context.Context) (string, error) {
	out, err := t.run(ctx, call{verb: "--version", limits: reading()})
	if err != nil {
		return "", err
	}
	return versionIn(string(out), "qemu-img version"), nil
}

// ServerVersion is Tools.Version for the qemu-nbd at a path.
func ServerVersion(ctx context.Context, binary string) (string, error) {
	cmd := exec.Command(binary, "--version")
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", []string{"LC_ALL=C"}, toolWaitDelay
	out, err := spawn.Output(ctx, cmd)
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", binary, err)
	}
	return versionIn(string(out), binary), nil // it prints the name under which it was called
}

// versionIn returns what follows a name in the first line.
func versionIn(text, name string) string {
	line, _, _ := strings.Cut(text, "\n")
	return nbd.Printable([]byte(strings.TrimSpace(strings.TrimPrefix(line, name))))
}
