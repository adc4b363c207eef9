package nbd

import (
	"context"
	"strings"
)

// Version gives the version of QEMU, such as "7.2.22", with what the distribution adds: the first line that qemu-img
// prints of itself, less the words "qemu-img version".
func (t Tools) Version(ctx context.Context) (string, error) {
	out, err := t.run(ctx, "--version", "")
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "qemu-img version")), nil
}
