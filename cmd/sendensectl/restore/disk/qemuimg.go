package disk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/progress"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore/destination"
)

// convert copies an export to the destination. The format of an export is always raw, even if it begins like another format.
func convert(ctx context.Context, url string, t *destination.Disk, format string, view progress.Gauge) error {
	// Without -t, a failed write would not be reported: the default of convert is unsafe.
	args := []string{"convert", "-p", "-t", "writeback", "-f", "raw", "-O", format}
	if t.Device {
		args = append(args, "-n") // the device exists, and zeroes must be written
	}
	if err := qemuImg(ctx, view, append(args, "--", url, t.WritePath())...); err != nil {
		return fmt.Errorf("copying to %s: %w", t.Path, err)
	}
	return nil
}

// compare reads back the copy and compares it with the export.
func compare(ctx context.Context, url string, t *destination.Disk, format string, size int64, view progress.Gauge) error {
	written, err := t.ReadPath(size)
	if err != nil {
		return err
	}
	err = qemuImg(ctx, view, "compare", "-p", "-f", "raw", "-F", format, "--", url, written)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 { // 2 and more: the comparison failed
		return fmt.Errorf("%s differs from the restore point; check the hardware below it: %w", t.Path, err)
	}
	if err != nil {
		return fmt.Errorf("comparing %s with the restore point: %w", t.Path, err)
	}
	return nil
}

// percentDone matches the progress of qemu-img: "    (12.34/100%)".
var percentDone = regexp.MustCompile(`\(([0-9.]+)/100%\)`)

// qemuImg runs qemu-img and shows its progress. It is killed when ctx ends.
func qemuImg(ctx context.Context, view progress.Gauge, args ...string) error {
	cmd := exec.CommandContext(ctx, "qemu-img", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return errors.New("qemu-img is missing: install qemu-utils")
		}
		return err
	}
	said := readProgress(bufio.NewScanner(stdout), view)
	if err := cmd.Wait(); err != nil {
		words := strings.Join(append(said, strings.TrimSpace(stderr.String())), "; ")
		return fmt.Errorf("qemu-img %s: %w: %s", args[0], err, strings.Trim(words, "; "))
	}
	return nil
}

// readProgress reads the output of qemu-img, shows the progress and returns all other lines.
func readProgress(lines *bufio.Scanner, view progress.Gauge) (said []string) {
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
			return i + 1, data[:i], nil
		}
		if atEOF && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if found := percentDone.FindStringSubmatch(line); found != nil {
			if percent, err := strconv.ParseFloat(found[1], 64); err == nil {
				view.Set(percent / 100)
			}
			continue
		}
		if line != "" {
			said = append(said, line)
		}
	}
	return said
}
