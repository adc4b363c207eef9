package nbd

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var oddNames = []string{
	"", ".", "..", "-", "---", "vm.", "a/b", "../../etc/passwd", "Server für Büro", "Server fu\u0308r Bu\u0308ro",
	"x-disk2-y", "disk2-y", "x-disk2", "x-Disk2-y", "-disk1--disk2-", "a,b", "a:b", "a%41", "a?b#c", "a b", " a", "a ",
	"日本語", "\xff\xfe", "nul\x00", "a\nb", strings.Repeat("x", 47), strings.Repeat("x", 1000),
	strings.Repeat("-disk1", 40), ".disk1-", "--disk1-", "-.disk2", "-dash", ".hidden", "vm-00000000000000000000", "$HOME", "%i", "a@b",
}

var plainNames = []string{
	"test-vm", "pgtest1", "QUAD-DC01", "vm_1.example.org", "a", "_", "0", "disk", "mydisk2", "vm-disk", "x-disk-1",
	strings.Repeat("x", 46), "backup-vm-1700000000",
}

func TestOrdinaryNamesAreThemselves(t *testing.T) {
	for _, name := range plainNames {
		if got := SafeName(name); got != name {
			t.Errorf("SafeName(%q) = %q", name, got)
		}
		if got := BackupID(name, 1700000000); got != "backup-"+name+"-1700000000" {
			t.Errorf("BackupID(%q) = %q", name, got)
		}
		if got := ExportName(name, 3); got != name+"-disk3" {
			t.Errorf("ExportName(%q) = %q", name, got)
		}
		if lower := strings.ToLower(name); DirName(lower) != lower {
			t.Errorf("DirName(%q) = %q", lower, DirName(lower))
		}
	}
}

// TestNamesStayAsTheyAre: names that are on disks of installed agents do not change.
func TestNamesStayAsTheyAre(t *testing.T) {
	for name, want := range map[string]string{
		"":                "vm-werc8gmrzge196qvyk49",
		"Server für Büro": "Server_f_r_B_ro-kddgky3xqyzfchvzgx91",
		"x-disk2-y":       "x-dis-2-y-jxnbtkzf858t6706z3h3",
	} {
		if got := SafeName(name); got != want {
			t.Errorf("SafeName(%q) = %q, want %q", name, got, want)
		}
	}
	if got, want := DirName("QUAD-DC01"), "QUAD-DC01-883xm1g5yt1ztsbjc1r2"; got != want {
		t.Errorf("DirName = %q, want %q", got, want)
	}
}

var diskAnywhere = regexp.MustCompile(`-disk\d+-`)

func checkNames(t interface {
	Helper()
	Errorf(string, ...any)
}, name string, disk int,
) {
	t.Helper()
	for _, safe := range []string{SafeName(name), DirName(name)} {
		if !regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,45}$`).MatchString(safe) || strings.HasSuffix(safe, ".") {
			t.Errorf("name %q: unsafe %q", name, safe)
		}
	}
	id := BackupID(name, 1700000000)
	if len(id) > 64 || !strings.HasPrefix(id, "backup-") || diskAnywhere.MatchString(id) {
		t.Errorf("name %q: backup id %q", name, id)
	}
	export := ExportName(name, disk)
	if err := CheckExport(export); err != nil {
		t.Errorf("name %q: %v", name, err)
	}
	if index, ok := DiskIndex(export); !ok || index != disk {
		t.Errorf("name %q: export %q gives disk %d", name, export, index)
	}
}

func TestOddNames(t *testing.T) {
	seen := make(map[string]string)
	for _, name := range append(oddNames, plainNames...) {
		checkNames(t, name, 12)
		if other, ok := seen[SafeName(name)]; ok {
			t.Errorf("%q and %q are both %q", name, other, SafeName(name))
		}
		seen[SafeName(name)] = name
	}
	for _, name := range oddNames {
		if SafeName(name) == name {
			t.Errorf("%q is taken for ordinary", name)
		}
	}
}

func TestNamesOfHashedFormAreHashed(t *testing.T) {
	for _, name := range oddNames {
		if safe := SafeName(name); SafeName(safe) == safe || DirName(safe) == safe {
			t.Errorf("a VM called %q takes the name of the VM %q", safe, name)
		}
	}
}

func TestDirectoriesDifferWhereCaseIsFolded(t *testing.T) {
	group := []string{"db", "DB", "Db", "dB", DirName("DB"), strings.ToLower(DirName("DB")), strings.ToUpper(DirName("DB"))}
	seen := make(map[string]string)
	for _, name := range group {
		folded := strings.ToLower(DirName(name))
		if other, ok := seen[folded]; ok && other != name {
			t.Errorf("%q and %q share the directory %q", name, other, folded)
		}
		seen[folded] = name
	}
	for _, device := range []string{"nul", "CON", "com1", "lpt9.txt", "aux.disk"} {
		if DirName(device) == device {
			t.Errorf("%q is a directory name", device)
		}
	}
}

func TestNamesAreInjective(t *testing.T) {
	// A small alphabet makes near misses likely.
	gen := rapid.OneOf(
		rapid.StringOf(rapid.SampledFrom([]rune("aA-._/ k1ü"))),
		rapid.StringMatching(`[a-z]{0,3}(-disk[0-9]{1,2}){0,2}-?[a-z]{0,2}`),
		rapid.Map(rapid.String(), SafeName),
		rapid.Map(rapid.String(), DirName),
	)
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		if rapid.Bool().Draw(t, "pair") {
			b = SafeName(a)
		}
		if a != b && SafeName(a) == SafeName(b) {
			t.Fatalf("%q and %q are both %q", a, b, SafeName(a))
		}
		if a != b && strings.EqualFold(DirName(a), DirName(b)) {
			t.Fatalf("%q and %q share directory %q", a, b, DirName(a))
		}
	})
}

func TestBackupIDClampsTheClock(t *testing.T) {
	for seconds, want := range map[int64]string{-1: "0", 0: "0", 1 << 62: "9999999999"} {
		if got := BackupID(strings.Repeat("x", 46), seconds); len(got) > 64 || !strings.HasSuffix(got, "x-"+want) {
			t.Errorf("BackupID at %d = %q", seconds, got)
		}
	}
}

func TestCheckExport(t *testing.T) {
	for _, bad := range []string{
		"", "vm", "vm-disk", "vm-disk-1", "a/disk0", "a,disk0", "a:disk0", "ä-disk0", "-disk0", ".disk0", "a disk0",
		"vm-disk99999999999", "vm-disk0\n", strings.Repeat("x", 300) + "-disk0", ExportName("vm", -1),
	} {
		if CheckExport(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// FuzzNames takes a VM name the whole way to SBC and back.
func FuzzNames(f *testing.F) {
	for i, name := range append(oddNames, plainNames...) {
		f.Add(name, uint16(i), uint16(10100+i))
	}
	f.Fuzz(func(t *testing.T, name string, disk, port uint16) {
		checkNames(t, name, int(disk))
		first := Target{DiskKey: 2000 + int(disk), Host: "127.0.0.1", Port: max(port, 1), Export: ExportName(name, int(disk))}
		second := first
		second.DiskKey, second.Port, second.Export = first.DiskKey+1, first.Port%65535+1, ExportName(name, int(disk)+1)
		text, err := TargetsString([]Target{first, second})
		if err != nil {
			t.Fatal(err)
		}
		parsed, skipped := ParseTargets(text)
		if len(skipped) != 0 || len(parsed) != 2 {
			t.Fatalf("%s: %d targets, skipped %v", text, len(parsed), skipped)
		}
		for _, want := range []Target{first, second} {
			got := parsed[strconv.Itoa(want.DiskKey)]
			if got != (ParsedTarget{Host: want.Host, Port: fmt.Sprint(want.Port), Export: want.Export}) {
				t.Fatalf("%s: %+v", text, got)
			}
			// SBC joins the parsed parts to a URL and parses it again.
			again, _ := ParseTargets("k:nbd://" + got.Host + ":" + got.Port + "/" + got.Export)
			if again["k"] != got {
				t.Fatalf("%s: parsed twice: %+v", text, again)
			}
			if index, ok := DiskIndex(got.Export); !ok || ExportName(name, index) != want.Export {
				t.Fatalf("%s: disk index %d", text, index)
			}
		}
	})
}
