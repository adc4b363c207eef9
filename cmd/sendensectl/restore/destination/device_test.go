package destination

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
)

// loopDevice makes an empty block device.
func loopDevice(t *testing.T, size int64) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	device := strings.TrimSpace(command(t, "losetup", "--find", "--show", file))
	t.Cleanup(func() { command(t, "losetup", "--detach", device) })
	return device
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// put writes bytes at an offset; a negative one counts from the end.
func put(t *testing.T, device string, at int64, content string) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if at < 0 {
		end, err := f.Seek(0, 2)
		if err != nil {
			t.Fatal(err)
		}
		at += end
	}
	if _, err := f.WriteAt([]byte(content), at); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// refused opens a device. That must fail with these words, or succeed if words is "".
func refused(t *testing.T, device, words string) {
	t.Helper()
	d, err := OpenDisk(t.Context(), device, "raw", false)
	if err == nil {
		d.Close()
	}
	if words == "" && err != nil || words != "" && (err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), device)) {
		t.Errorf("%s: %v, want %q", device, err, words)
	}
	if words == "" {
		return
	}
	forced, err := OpenDisk(t.Context(), device, "raw", true)
	if err != nil {
		t.Errorf("--force: %v", err)
		return
	}
	forced.Close()
}

// TestDeviceThatHoldsData tries to break the promise of DeviceHelp: everything that it names is found.
func TestDeviceThatHoldsData(t *testing.T) {
	const small, large = 64 << 20, 3 << 30
	for name, c := range map[string]struct {
		size  int64
		make  func(device string)
		words string
	}{
		"nothing":                {small, func(string) {}, ""},
		"nothing, large":         {large, func(string) {}, ""},
		"one byte":               {small, func(d string) { put(t, d, 41<<20+17, "x") }, "not zero at 42991633"},
		"the last byte":          {small, func(d string) { put(t, d, -1, "x") }, "not zero at 67108863"},
		"the last byte, large":   {large, func(d string) { put(t, d, -1, "x") }, "not zero at 3221225471"},
		"behind the first MiB":   {large, func(d string) { put(t, d, 15<<20, "x") }, "not zero at 15728640"},
		"a thousandth":           {large, func(d string) { put(t, d, 1234567890, strings.Repeat("x", large/samples)) }, "not zero at"},
		"ext4":                   {small, func(d string) { command(t, "mkfs.ext4", "-q", "-F", d) }, "ext4 at 0x438"},
		"swap":                   {small, func(d string) { command(t, "mkswap", d) }, "swap at 0xff6"},
		"the copy of a GPT":      {small, func(d string) { command(t, "sh", "-c", "echo label: gpt | sfdisk --quiet "+d); wipe(t, d) }, "gpt at 0x3fffe00"},
		"a RAID 1.0 at the end":  {small, func(d string) { raid(t, d, 0x3ffe000, 1) }, "linux_raid_member at 0x3ffe000"},
		"a RAID 0.90":            {small, func(d string) { raid(t, d, 0x3ff0000, 0) }, "linux_raid_member at 0x3ff0000"},
		"a ZFS label at the end": {small, func(d string) { zfs(t, d, small-128<<10) }, "zfs_member at"},
		"LUKS":                   {small, func(d string) { put(t, d, 0, "LUKS\xba\xbe\x00\x01") }, "crypto_LUKS at 0x0"},
		"LVM":                    {small, func(d string) { command(t, "pvcreate", "--yes", d) }, "LVM2_member at 0x218"},
	} {
		t.Run(name, func(t *testing.T) {
			device := loopDevice(t, c.size)
			c.make(device)
			refused(t, device, c.words)
		})
	}
}

// wipe zeroes the beginning of a device, with the first copy of a partition table.
func wipe(t *testing.T, device string) {
	t.Helper()
	put(t, device, 0, strings.Repeat("\x00", 1<<20))
}

// raid writes the superblock of a RAID member, in the form of drivers/md of Linux: version 0.90 in the last 64 KiB, 1.0 in the last
// 8 KiB.
func raid(t *testing.T, device string, at int64, major byte) {
	t.Helper()
	label := make([]byte, 4096)
	copy(label, "\xfc\x4e\x2b\xa9")
	label[4] = major
	if major == 0 {
		label[8] = 90
	} else {
		binary.LittleEndian.PutUint64(label[144:], uint64(at/512)) // its own position
	}
	put(t, device, at, string(label))
}

// zfs writes the uberblocks of a ZFS label. The last one ends at the end of the device.
func zfs(t *testing.T, device string, at int64) {
	t.Helper()
	for i := range int64(16) {
		put(t, device, at+i<<10, "\x0c\xb1\xba\x00\x00\x00\x00\x00")
	}
}

// TestDeviceInUse: the error names the user of a device.
func TestDeviceInUse(t *testing.T) {
	device := loopDevice(t, 64<<20)
	command(t, "mkfs.ext4", "-q", "-F", device)
	dir := t.TempDir()
	command(t, "mount", device, dir)
	refused(t, device, device+" is mounted on "+dir)
	command(t, "umount", dir)
	command(t, "mkswap", device)
	command(t, "swapon", device)
	refused(t, device, device+" is swap space")
	command(t, "swapoff", device)
	refused(t, device, "swap at")
}

// TestDeviceInterrupted: Ctrl-C stops the search.
func TestDeviceInterrupted(t *testing.T) {
	device := loopDevice(t, 64<<20)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d, err := OpenDisk(ctx, device, "raw", false); !errors.Is(err, exit.ErrInterrupted) {
		t.Errorf("%+v, %v", d, err)
	}
}
