package nbd

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const (
	// MaxSafeName is the length of the longest safe name, in bytes: what is left
	// of the 64 bytes of a job id (contract §5) after "backup-", "-" and ten
	// digits.
	MaxSafeName = 46
	// MaxExportName is the length of the longest export name that CheckExport
	// accepts, in bytes. The protocol allows 4096; no name made here exceeds
	// 100.
	MaxExportName = 255

	hashLen = 20                                 // base-32 digits: 100 bits
	stemLen = MaxSafeName - 1 - hashLen          // readable part of a hashed name
	hashSet = "0123456789abcdefghjkmnpqrstvwxyz" // no i, l, o, u: forms no words, never "disk"

	maxSeconds = 9_999_999_999 // ten digits, the year 2286
)

var (
	plainName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
	hashedName = regexp.MustCompile(`-[` + hashSet + `]{20}$`)
	// SBC searches a job id for -disk<digits>- to learn a disk index (contract
	// §5), in lower case only; refusing upper case too costs nothing.
	diskPart  = regexp.MustCompile(`(?i)-disk[0-9]+-`)
	diskStart = regexp.MustCompile(`(?i)(-dis)k([0-9])`)
	diskEnd   = regexp.MustCompile(`disk(\d+)$`)
	oddRun    = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
	// Names that Windows reserves for devices, with any extension.
	deviceName = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$`)
)

// SafeName returns the name of a VM in job ids, export names and unit names.
//
// It consists of 1 to 46 bytes of [A-Za-z0-9._-], begins with a letter, digit or
// '_', does not end in '.', and has no -disk<digits>- part, also not between
// "backup-" and "-<seconds>". An ordinary name stays as it is. Any other name,
// and any that looks like a hashed one, becomes a readable stem and a hash of
// the name's bytes, so different names have different safe names (short of a
// collision in 100 bits of SHA-256). Bytes are compared: two Unicode normal
// forms of a name are two names.
//
// Upper and lower case are kept and are different: use [DirName] for a file
// system that may fold them.
func SafeName(vmName string) string {
	if ordinary(vmName) {
		return vmName
	}
	return hashed(vmName)
}

// DirName returns the name of a VM's directory in a repository. It is SafeName
// for repositories on CIFS, where "DB" and "db" are one directory and "nul" is a
// device: a name with an upper-case letter, and the name of a Windows device,
// has the hash too, so that no two VMs share a directory, whatever the file
// system folds. An ordinary lower-case name stays as it is.
func DirName(vmName string) string {
	if !ordinary(vmName) || vmName != strings.ToLower(vmName) || deviceName.MatchString(vmName) {
		return hashed(vmName)
	}
	return vmName
}

// BackupID returns "backup-<safe name>-<seconds>", which is also the job id that
// SBC is started with: at most 64 bytes, URL-safe (contract §5). unixSeconds is
// limited to 0..9999999999; the caller makes it unique.
func BackupID(vmName string, unixSeconds int64) string {
	return fmt.Sprintf("backup-%s-%d", SafeName(vmName), min(max(unixSeconds, 0), maxSeconds))
}

// RestoreID returns "restore-<safe name>-<seconds>", at most 65 bytes. No backup
// has such an id. "<restore id>-disk<N>" is an export name that, unlike those
// of backups, is used once: a late client of another backup or restore never
// finds it.
func RestoreID(vmName string, unixSeconds int64) string {
	return fmt.Sprintf("restore-%s-%d", SafeName(vmName), min(max(unixSeconds, 0), maxSeconds))
}

// ExportName returns "<safe name>-disk<N>". diskID counts from 0; for a negative
// one CheckExport refuses the name.
func ExportName(vmName string, diskID int) string {
	return fmt.Sprintf("%s-disk%d", SafeName(vmName), diskID)
}

// DiskIndex reads the disk index from an export name as SBC does: the digits
// of disk(\d+)$. It reports false if there are none or they exceed an int32.
func DiskIndex(export string) (int, bool) {
	match := diskEnd.FindStringSubmatch(export)
	if match == nil {
		return 0, false
	}
	index, err := strconv.ParseInt(match[1], 10, 32)
	return int(index), err == nil
}

// CheckExport returns why an export name cannot be used: it is empty or longer
// than 255 bytes, has a byte outside [A-Za-z0-9._-] (SBC parses it twice as part
// of a URL, contract §5), or does not end in disk<N>.
func CheckExport(name string) error {
	switch {
	case name == "" || len(name) > MaxExportName:
		return fmt.Errorf("export name %.64q: must be 1 to %d bytes", name, MaxExportName)
	case !plainName.MatchString(name):
		return fmt.Errorf("export name %q: only letters, digits, '.', '_' and '-' are allowed, and no '.' or '-' first", name)
	}
	if _, ok := DiskIndex(name); !ok {
		return fmt.Errorf("export name %q: must end in disk<number>, which is how the backup client finds the disk", name)
	}
	return nil
}

func ordinary(name string) bool {
	return len(name) <= MaxSafeName &&
		plainName.MatchString(name) &&
		!strings.HasSuffix(name, ".") && // CIFS servers drop it
		!diskPart.MatchString("-"+name+"-") &&
		!hashedName.MatchString(name)
}

// hashed returns "<stem>-<hash>". The stem is for people; the hash tells names
// apart, and SafeName returns no other name of this form.
func hashed(name string) string {
	stem := strings.TrimLeft(oddRun.ReplaceAllString(name, "_"), ".-")
	stem = strings.TrimLeft(diskStart.ReplaceAllString("-"+stem, "$1-$2"), "-") // "backup-" will stand before it
	if len(stem) > stemLen {
		stem = stem[:stemLen]
	}
	if stem = strings.TrimRight(stem, ".-"); stem == "" {
		stem = "vm"
	}
	return stem + "-" + digest(name)
}

// digest is the first 100 bits of SHA-256, five bits to a digit.
func digest(name string) string {
	sum := sha256.Sum256([]byte(name))
	out := make([]byte, hashLen)
	var bits, have uint
	next := 0
	for i := range out {
		if have < 5 {
			bits, have, next = bits<<8|uint(sum[next]), have+8, next+1
		}
		have -= 5
		out[i] = hashSet[bits>>have&31]
		bits &= 1<<have - 1
	}
	return string(out)
}
