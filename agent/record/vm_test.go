package record

import (
	"strings"
	"testing"
	"time"
)

func TestKey(t *testing.T) {
	for _, c := range []struct {
		disk Disk
		want int
	}{
		{Disk{UnitNumber: 0}, 2000},
		{Disk{UnitNumber: 15}, 2015},
		{Disk{UnitNumber: 0, DeviceKey: 2016}, 2016}, // VMware's own key wins
		{Disk{UnitNumber: 1, DeviceKey: 32001}, 32001},
	} {
		if got := c.disk.Key(); got != c.want {
			t.Errorf("%+v: key %d, want %d", c.disk, got, c.want)
		}
	}
}

func TestInterval(t *testing.T) {
	for interval, want := range map[Interval]time.Duration{"": time.Hour, "0s": 0, "90m": 90 * time.Minute} {
		if got := interval.Or(time.Hour); got != want {
			t.Errorf("%q: %s, want %s", interval, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	disk := func(id, unit, key int, size int64) Disk {
		return Disk{ID: id, UnitNumber: unit, DeviceKey: key, CapacityBytes: size}
	}
	for _, c := range []struct {
		name string
		vm   VM
		want string // part of the error, "" for none
	}{
		{"no disks yet", VM{Name: "vm"}, ""},
		{"two controllers", VM{Name: "vm", Disks: []Disk{disk(0, 0, 2000, 512), disk(1, 0, 2016, 512)}}, ""},
		{"odd name", VM{Name: `a/b "c" %41 数据库`}, ""},
		{"no name", VM{}, "vm name is missing"},
		{"blank name", VM{Name: "  "}, "is blank"},
		{"control character", VM{Name: "a\x1b[31m"}, "without control characters"},
		{"not UTF-8", VM{Name: "a\xff"}, "valid UTF-8"},
		{"long name", VM{Name: strings.Repeat("x", 256)}, "256 bytes long, the limit is 255"},
		{"same key by the rule", VM{Name: "vm", Disks: []Disk{disk(0, 0, 0, 512), disk(1, 0, 0, 512)}}, "disks 0 and 1 both have the disk key 2000"},
		{"same key, one reported", VM{Name: "vm", Disks: []Disk{disk(0, 1, 0, 512), disk(1, 5, 2001, 512)}}, "both have the disk key 2001"},
		{"same id", VM{Name: "vm", Disks: []Disk{disk(0, 0, 0, 512), disk(0, 1, 0, 512)}}, "two disks have the disk_id 0"},
		{"negative id", VM{Name: "vm", Disks: []Disk{disk(-1, 0, 0, 512)}}, "disk_id"},
		{"no size", VM{Name: "vm", Disks: []Disk{disk(0, 0, 0, 0)}}, "capacity_bytes 0"},
		{"odd size", VM{Name: "vm", Disks: []Disk{disk(0, 0, 0, 1000)}}, "a multiple of 512"},
		{"huge size", VM{Name: "vm", Disks: []Disk{disk(0, 0, 0, 1<<46+512)}}, "64 TiB"},
		{"negative key", VM{Name: "vm", Disks: []Disk{disk(0, 0, -1, 512)}}, "device_key -1"},
		{"many disks", VM{Name: "vm", Disks: make([]Disk, 257)}, "257 disks"},
		{"odd refresh", VM{Name: "vm", VCenter: "main", Refresh: "always"}, `refresh "always"`},
		{"interval", VM{Name: "vm", BackupInterval: "26h"}, ""},
		{"never", VM{Name: "vm", BackupInterval: "0s"}, ""},
		{"odd interval", VM{Name: "vm", BackupInterval: "daily"}, `backup interval "daily": want a duration`},
		{"negative interval", VM{Name: "vm", BackupInterval: "-1h"}, `backup interval "-1h"`},
		{"short interval", VM{Name: "vm", BackupInterval: "59s"}, `backup interval "59s"`},
		{"long interval", VM{Name: "vm", BackupInterval: "87601h"}, `backup interval "87601h"`},
		{"tags", VM{Name: "vm", Tags: []string{"gold", "größe-1"}}, ""},
		{"empty tag", VM{Name: "vm", Tags: []string{""}}, `tag "": want 1 to 64 bytes`},
		{"tag of two words", VM{Name: "vm", Tags: []string{"a b"}}, `tag "a b": want 1 to 64 bytes of printable text without spaces`},
		{"long tag", VM{Name: "vm", Tags: []string{strings.Repeat("x", 65)}}, "want 1 to 64 bytes"},
		{"tag twice", VM{Name: "vm", Tags: []string{"a", "b", "a"}}, `tag "a" is given twice`},
		{"many tags", VM{Name: "vm", Tags: make([]string, 33)}, "33 tags, the limit is 32"},
		{"path of nothing", VM{Name: "vm", InventoryPath: "/DC1/vm/.."}, `cannot find a folder or VM called ".."`},
		{"path through here", VM{Name: "vm", InventoryPath: "/DC1/./vm"}, `cannot find a folder or VM called "."`},
		{"path with dots", VM{Name: "vm", InventoryPath: "/DC1/vm/...a"}, ""},
		{"refresh of nobody", VM{Name: "vm", Refresh: RequireRefresh}, "want a vcenter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.vm.Validate()
			if c.want == "" && err == nil {
				return
			}
			if err == nil || c.want == "" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
