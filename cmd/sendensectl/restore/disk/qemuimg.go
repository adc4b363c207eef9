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

// convert copies an export to a target. The format of an export is always raw, whatever stands at its beginning.
func convert(ctx context.Context, url string, t *destination.Disk, format string, view progress.Gauge) error {
	// Without -t a failed write to the disk would not be told; convert's own default is unsafe.
	args := []string{"convert", "-p", "-t", "writeback", "-f", "raw", "-O", format}
	if t.Device {
		args = append(args, "-n") // it is there, and zeroes have to be written
	}
	if err := qemuImg(ctx, view, append(args, "--", url, t.WritePath())...); err != nil {
		return fmt.Errorf("copying to %s: %w", t.Path, err)
	}
	return nil
}

// compare reads back what was written and compares it with the export.
func compare(ctx context.Context, url string, t *destination.Disk, format string, size int64, view progress.Gauge) error {
	written, err := t.ReadPath(size)
	if err != nil {
		return err
	}
	err = qemuImg(ctx, view, "compare", "-p", "-f", "raw", "-F", format, "--", url, written)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 { // 2 and more: it could not be compared
		return fmt.Errorf("%s is not what the restore point holds: is the disk beneath it sound? %w", t.Path, err)
	}
	if err != nil {
		return fmt.Errorf("comparing %s with the restore point: %w", t.Path, err)
	}
	return nil
}

// percentDone is how qemu-img tells its progress: "    (12.34/100%)".
var percentDone = regexp.MustCompile(`\(([0-9.]+)/100%\)`)

// qemuImg runs qemu-img and shows its progress. It ends with ctx.
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
			return errors.New("qemu-img is not there: install qemu-utils")
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

// readProgress reads what qemu-img says, shows the progress in it and returns the rest.
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
