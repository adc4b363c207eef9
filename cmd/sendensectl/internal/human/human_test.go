package human

import (
	"testing"
)

func TestWrap(t *testing.T) {
	const long = "the quick brown fox jumps over the lazy dog and goes on"
	if got := Wrap(long, 40, 4); got != "the quick brown fox jumps over the\n    lazy dog and goes on" {
		t.Errorf("%q", got)
	}
	for _, width := range []int{0, 10, 200} {
		if got := Wrap(long, width, 4); got != long {
			t.Errorf("%d: %q", width, got)
		}
	}
}

func TestSizes(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "512": 512, "40GiB": 40 << 30, "40G": 40 << 30, "40 gib": 40 << 30, "1.5T": 3 << 39, "500GB": 500e9, "1KiB": 1024, "0.5k": 512,
		"64TiB": 1 << 46, "9223372036854775807": 1<<63 - 1,
	} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "G", "-1", "-1G", "1e3", "0x10", "1.0000001k", "40GiBs", "NaN", "Inf", "9223372036854775808", "99999999TiB", "1_0", "1 2"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", in, got)
		}
	}
	for want, in := range map[string]uint64{"0 B": 0, "1023 B": 1023, "1 KiB": 1024, "1.5 GiB": 3 << 29, "40 GiB": 40 << 30, "16 EiB": 1<<64 - 1} {
		if got := Size(in); got != want {
			t.Errorf("humanSize(%d) = %q, want %q", in, got, want)
		}
	}
}

func TestSafe(t *testing.T) {
	for in, want := range map[string]string{
		"plain text": "plain text", "böse 日本": "böse 日本", "a\x1b[2Jb": `a\x1b[2Jb`, "a\r\n\tb": `a\r\n\tb`, "\xff": `\xff`,
		"\u202egnp.exe": `\u202egnp.exe`, "\u009b1m": `\u009b1m`, "\ufffd": "\ufffd",
	} {
		if got := Safe(in); got != want {
			t.Errorf("safe(%q) = %q, want %q", in, got, want)
		}
	}
}
