package destination

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
)

// How much of a device is read in search of data. Contiguous data of a thousandth of the device is always found, in the time of a
// thousand seeks.
const (
	readWhole   = 1 << 30  // a device of up to this size is read completely
	readEnds    = 16 << 20 // of a larger one, this much at each end
	samples     = 1024     // and at so many places between, evenly spaced
	sampleBytes = 64 << 10
)

// DeviceHelp says what is checked. It is a promise: TestDeviceThatHoldsData tries to break it.
const DeviceHelp = `A device is in use if the kernel says so: it, or a partition of it, is mounted, swap space, or part of a RAID, of LVM or of another
mapping. A device holds data if wipefs(8) of util-linux finds a signature (partition table, also the copy of GPT at the end, file
system, RAID, LVM, ZFS, LUKS or swap), or if a byte is not zero. A device of up to 1 GiB is read completely. Of a larger device, 16
MiB at each end and 64 KiB at 1024 places between are read; data without a signature between these places is not found.`

// openDevice checks that a block device may be written, and opens it exclusively so that it cannot be mounted meanwhile.
func openDevice(ctx context.Context, path, format string, force bool) (*Disk, error) {
	if format != "raw" {
		return nil, fmt.Errorf("%s is a block device: only --format raw can be written to it", path)
	}
	// The kernel refuses O_EXCL while the device, or a part of it, is mounted, or is part of a RAID, LVM or swap.
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		if !force {
			return nil, fmt.Errorf("%s is in use: %s; free it, or use --force", path, usersOf(path))
		}
		f, err = os.OpenFile(path, os.O_RDWR, 0)
	}
	if err != nil {
		return nil, err
	}
	t := &Disk{Path: path, Device: true, file: f}
	if force {
		return t, nil
	}
	found, err := findData(ctx, f)
	if err == nil && found != "" {
		err = fmt.Errorf("%s holds data (%s): choose another device, or use --force to overwrite it", path, found)
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// findData describes the data on a device; "" if there is none.
func findData(ctx context.Context, f *os.File) (string, error) {
	found, err := signatures(ctx, f.Name())
	if err != nil || found != "" {
		return found, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	at, err := findByte(ctx, f, size)
	if err != nil || at < 0 {
		return "", err
	}
	return fmt.Sprintf("a byte that is not zero at %d", at), nil
}

// signatures lists the signatures that wipefs finds on a device. Without options, wipefs changes nothing.
func signatures(ctx context.Context, path string) (string, error) {
	program := "/usr/sbin/wipefs" // usually not in the PATH of a user
	if _, err := os.Stat(program); err != nil {
		if program, err = exec.LookPath("wipefs"); err != nil {
			return "", errors.New("wipefs is missing, so the device cannot be checked for data: install util-linux, or use --force")
		}
	}
	out, err := exec.CommandContext(ctx, program, "--no-act", "--noheadings", "--output", "OFFSET,TYPE", "--", path).Output()
	if ctx.Err() != nil {
		return "", exit.ErrInterrupted
	}
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		return "", fmt.Errorf("wipefs of %s: %w", path, err)
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) == 2 {
			list = append(list, fields[1]+" at "+fields[0])
		}
	}
	return strings.Join(list, ", "), nil
}

// findByte looks for a byte that is not zero, at the places of DeviceHelp; -1 if there is none.
func findByte(ctx context.Context, r io.ReaderAt, size int64) (int64, error) {
	if size <= readWhole {
		return findIn(ctx, r, 0, size)
	}
	if at, err := findIn(ctx, r, 0, readEnds); err != nil || at >= 0 {
		return at, err
	}
	if at, err := findIn(ctx, r, size-readEnds, readEnds); err != nil || at >= 0 {
		return at, err
	}
	between := size - 2*readEnds
	for i := range int64(samples) {
		from := readEnds + between/samples*i
		if at, err := findIn(ctx, r, from, sampleBytes); err != nil || at >= 0 {
			return at, err
		}
	}
	return -1, nil
}

func findIn(ctx context.Context, r io.ReaderAt, from, length int64) (int64, error) {
	buffer, zeroes := make([]byte, min(length, 1<<20)), make([]byte, min(length, 1<<20))
	for end := from + length; from < end; {
		if ctx.Err() != nil {
			return 0, exit.ErrInterrupted
		}
		n, err := r.ReadAt(buffer[:min(end-from, int64(len(buffer)))], from)
		if !bytes.Equal(buffer[:n], zeroes[:n]) {
			return from + int64(len(buffer[:n])-len(bytes.TrimLeft(buffer[:n], "\x00"))), nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if n == 0 {
			break
		}
		from += int64(n)
	}
	return -1, nil
}
