package filereader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sendense/backup-agent/rpc/guestfiles"
)

// A volume is a Volume and its name in the appliance.
type volume struct {
	guestfiles.Volume
	device string
}

// mostVolumes limits the volumes of a disk.
const mostVolumes = 256

// unreadable are libguestfs's names for what is not a file system.
var unreadable = []string{"unknown", "swap", "crypto_LUKS", "BitLocker", "LVM2_member", "linux_raid_member"}

// volumes lists the volumes of the disk: partitions and logical volumes.
func (g *guest) volumes(ctx context.Context) ([]volume, error) {
	out, err := g.ask(ctx, "list-filesystems")
	if err != nil {
		return nil, err
	}
	list := parseVolumes(string(out))
	for i := range list {
		v := &list[i]
		device := v.device
		if name, ok := strings.CutPrefix(device, "btrfsvol:"); ok {
			device = wholeDevice(name)
		}
		if out, err := g.ask(ctx, "blockdev-getsize64", device); err == nil {
			v.SizeBytes, _ = strconv.ParseInt(string(bytes.TrimSpace(out)), 10, 64)
		}
		if !v.Readable {
			continue
		}
		if out, err := g.ask(ctx, "vfs-label", v.device); err == nil {
			v.Label = strings.ToValidUTF8(strings.TrimSuffix(string(out), "\n"), "\uFFFD")
		}
	}
	return list, nil
}

// wholeDevice is the device of a subvolume /dev/vg/lv/sub or /dev/sda1/sub.
func wholeDevice(name string) string {
	parts := strings.SplitN(strings.TrimPrefix(name, "/dev/"), "/", 3)
	if len(parts) > 1 && !strings.HasPrefix(parts[0], "sd") {
		parts = parts[:2]
	} else {
		parts = parts[:1]
	}
	return "/dev/" + path.Join(parts...)
}

// parseVolumes reads the answer to list-filesystems: lines like "/dev/sda1: ext4".
func parseVolumes(text string) []volume {
	var list []volume
	for line := range strings.Lines(text) {
		device, kind, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok || !strings.Contains(device, "/dev/") || len(list) == mostVolumes {
			continue
		}
		list = append(list, volume{
			Volume: guestfiles.Volume{Name: volumeName(device), Type: kind, Readable: !slices.Contains(unreadable, kind)}, device: device,
		})
	}
	return list
}

// volumeName is the name of a volume: p1 for /dev/sda1, disk for /dev/sda, VG/LV for /dev/VG/LV.
func volumeName(device string) string {
	name := strings.TrimPrefix(strings.TrimPrefix(device, "btrfsvol:"), "/dev/")
	name = strings.TrimPrefix(name, "mapper/")
	number, onDisk := strings.CutPrefix(name, "sda")
	switch {
	case onDisk && number == "":
		return "disk"
	case onDisk && number[0] >= '0' && number[0] <= '9':
		return "p" + number
	}
	return name
}

// mount makes one volume the root of the appliance. Its journal is replayed into an overlay that is discarded.
func (g *guest) mount(ctx context.Context, v volume) error {
	if _, err := g.ask(ctx, "umount-all"); err != nil {
		return err
	}
	if _, err := g.ask(ctx, "mount-ro", v.device, "/"); err != nil {
		return fmt.Errorf("volume %s: its %s file system cannot be read: %w", v.Name, v.Type, err)
	}
	return nil
}

// find mounts the requested volume, or the one that has the path, and returns it with the path as the volume spells it.
func (s *server) find(ctx context.Context, name, path string) (volume, string, error) {
	var found []string
	var hit volume
	var spelt string
	var problems []error
	var looked []volume
	for _, v := range s.list {
		if name != "" && v.Name != name || name == "" && !v.Readable {
			continue
		}
		if !v.Readable {
			return v, "", fmt.Errorf("volume %s: %s is not a file system, so it cannot be read", v.Name, v.Type)
		}
		looked = append(looked, v)
		here, err := s.lookIn(ctx, v, path)
		switch {
		case err != nil:
			problems = append(problems, err)
			if errors.Is(err, errHung) {
				return v, "", err
			}
		case here != "":
			found, hit, spelt = append(found, v.Name), v, here
		}
	}
	switch {
	case len(found) == 1:
		return hit, spelt, s.ensure(ctx, hit)
	case len(found) > 1:
		return hit, "", fmt.Errorf("%s: exists on the volumes %s: choose one with --volume", path, strings.Join(found, ", "))
	case len(problems) > 0:
		return hit, "", errors.Join(problems...)
	case name != "" && !slices.ContainsFunc(s.list, func(v volume) bool { return v.Name == name }):
		return hit, "", fmt.Errorf("volume %q: not on the disk, which has %s", name, s.names())
	case len(looked) == 0:
		return hit, "", fmt.Errorf("%s: the disk has no file system that can be read: it has %s", path, s.names())
	}
	return hit, "", fmt.Errorf("%s: no such file on %s", path, namesOf(looked))
}

// lookIn returns the path as the volume spells it; "" if it does not exist. NTFS and FAT ignore the case of letters.
func (s *server) lookIn(ctx context.Context, v volume, path string) (string, error) {
	if err := s.ensure(ctx, v); err != nil {
		return "", err
	}
	out, err := s.guest.ask(ctx, "exists", path)
	if err != nil {
		return "", err
	}
	if string(bytes.TrimSpace(out)) == "true" {
		return path, nil
	}
	if v.Type != "ntfs" && v.Type != "vfat" {
		return "", nil
	}
	out, err = s.guest.ask(ctx, "case-sensitive-path", path)
	if errors.Is(err, errHung) {
		return "", err
	}
	spelt := strings.TrimSuffix(string(out), "\n")
	if err != nil || spelt == "" {
		return "", nil
	}
	if out, err = s.guest.ask(ctx, "exists", spelt); err != nil || string(bytes.TrimSpace(out)) != "true" {
		return "", err
	}
	return spelt, nil
}

// ensure mounts a volume if it is not mounted.
func (s *server) ensure(ctx context.Context, v volume) error {
	if s.mounted == v.device {
		return nil
	}
	s.mounted = ""
	if err := s.guest.mount(ctx, v); err != nil {
		return err
	}
	s.mounted = v.device
	return nil
}

func (s *server) names() string {
	if len(s.list) == 0 {
		return "no partition, no logical volume and no file system"
	}
	return namesOf(s.list)
}

func namesOf(list []volume) string {
	names := make([]string, len(list))
	for i, v := range list {
		names[i] = v.Name + " (" + v.Type + ")"
	}
	return strings.Join(names, ", ")
}
