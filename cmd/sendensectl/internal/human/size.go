package human

import (
	"fmt"
	"strconv"
	"strings"
)

var units = []struct {
	suffix string
	bytes  uint64
}{
	{"EiB", 1 << 60}, {"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
}

// Size formats a number of bytes in the largest unit that it fills.
func Size[N ~int64 | ~uint64](n N) string {
	for _, u := range units {
		if v := uint64(n); v >= u.bytes {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(v)/float64(u.bytes)), ".0") + " " + u.suffix
		}
	}
	return fmt.Sprintf("%d B", n)
}

// suffixes of sizes, in lower case. A single letter is a power of 1024, as in QEMU and LVM.
var suffixes = map[string]uint64{
	"": 1, "b": 1,
	"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}

// ParseSize reads a size like 40GiB, 1.5T, 500GB or 1073741824.
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit, known := suffixes[strings.ToLower(strings.TrimSpace(s[len(digits):]))]
	if whole, err := strconv.ParseUint(digits, 10, 63); err == nil && known {
		if whole > (1<<63-1)/unit {
			return 0, fmt.Errorf("size %q is too large", s)
		}
		return int64(whole * unit), nil
	}
	fraction, err := strconv.ParseFloat(digits, 64)
	bytes := fraction * float64(unit)
	if err != nil || !known || strings.ContainsAny(digits, "eExXpP_-+") || !(bytes >= 1 && bytes < 1<<62) {
		return 0, fmt.Errorf("size %q: want bytes, or a number with KiB, MiB, GiB or TiB (KB, MB, GB, TB are powers of 1000)", s)
	}
	if bytes != float64(int64(bytes)) {
		return 0, fmt.Errorf("size %q is not a whole number of bytes", s)
	}
	return int64(bytes), nil
}

// Percent formats a fraction. It rounds down: only a complete one is 100.
func Percent(fraction float64) string {
	return fmt.Sprintf("%d %%", int(max(0, min(fraction, 1))*100))
}
