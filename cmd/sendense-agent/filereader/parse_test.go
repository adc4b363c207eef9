package filereader

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/rpc/guestfiles"
)

func TestVolumeNames(t *testing.T) {
	got := parseVolumes("/dev/sda1: ntfs\n/dev/sda: iso9660\n/dev/vg-0/root: xfs\nbtrfsvol:/dev/sda2/home: btrfs\n/dev/mapper/x: ext4\nnonsense\n/dev/sda3: crypto_LUKS\n")
	var names []string
	for _, v := range got {
		names = append(names, v.Name+" "+v.Type)
		if v.Readable == (v.Type == "crypto_LUKS") {
			t.Errorf("%+v", v)
		}
	}
	if want := []string{"p1 ntfs", "disk iso9660", "vg-0/root xfs", "p2/home btrfs", "x ext4", "p3 crypto_LUKS"}; !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	for subvolume, device := range map[string]string{"/dev/sda2/home": "/dev/sda2", "/dev/vg/lv/home": "/dev/vg/lv", "/dev/vg/lv": "/dev/vg/lv"} {
		if got := wholeDevice(subvolume); got != device {
			t.Errorf("%s lies on %s, not %s", subvolume, device, got)
		}
	}
}

// FuzzParse: whatever a compromised appliance sends, the parsers survive, and no name leads out of its directory.
func FuzzParse(f *testing.F) {
	f.Add([]byte("st_dev: 1\nst_ino: 2\nst_mode: 33188\nst_size: -5\nst_mtime_sec: 9223372036854775807\n"))
	f.Add([]byte("[0] = {\n  st_dev: 1\n  st_mode: 16877\n}\n[1] = {\n  st_dev: x\n}\n"))
	f.Add([]byte("a\x00..\x00.\x00b/c\x00\x00'\x00"))
	f.Add([]byte("/dev/sda1: ext4\nbtrfsvol:/dev/: x\n/dev/sda: \n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, e := range parseStats(text) {
			if _, err := e.Modified.MarshalJSON(); err != nil || e.SizeBytes < 0 {
				t.Errorf("%+v: %v", e, err)
			}
		}
		names := parseNames(text)
		for _, name := range names {
			if name == ".." || name == "." || strings.Contains(name, "/") {
				t.Errorf("%q", name)
			}
		}
		var together []string
		for _, batch := range batches(names) {
			if len(batch) == 0 || len(batch) > 1 && strings.Contains(strings.Join(batch, ""), "'") {
				t.Errorf("%q", batch)
			}
			together = append(together, batch...)
		}
		slices.Sort(together)
		slices.Sort(names)
		if !slices.Equal(together, names) {
			t.Errorf("%q, want %q", together, names)
		}
		for _, v := range parseVolumes(string(text)) {
			_ = wholeDevice(v.device)
		}
	})
}

func TestRequestsThatAreNone(t *testing.T) {
	s := &server{}
	for _, r := range []guestfiles.Request{{}, {Op: "rm"}, {Op: guestfiles.OpRead}, {Op: guestfiles.OpRead, Path: []byte("etc")}, {Op: guestfiles.OpList, Path: []byte("/a\x00b")}} {
		if a, err := s.handle(t.Context(), r); err == nil {
			t.Errorf("%+v: %+v", r, a)
		}
	}
	var out bytes.Buffer
	if err := piece(&out, []byte("abc")); err != nil || out.String() != "\x00\x00\x00\x03abc" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// TestNothingToLookIn: when no file system can be read, the answer is not that the file does not exist.
func TestNothingToLookIn(t *testing.T) {
	swap := volume{Volume: guestfiles.Volume{Name: "p1", Type: "swap"}}
	for want, list := range map[string][]volume{"it has p1 (swap)": {swap}, "it has no partition": nil} {
		s := &server{list: list}
		if _, _, err := s.find(t.Context(), "", "/etc"); err == nil || !strings.Contains(err.Error(), "no file system that can be read: "+want) {
			t.Errorf("%v: %v", list, err)
		}
	}
}
