package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"
)

// safe makes text harmless on a terminal: what is not printable, and so could move the cursor or turn the writing
// around, is shown as an escape.
func safe(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if strconv.IsPrint(r) && (r != utf8.RuneError || size > 1) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteToASCII(s[:size])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[size:]
	}
	return b.String()
}

var units = []struct {
	suffix string
	bytes  uint64
}{
	{"EiB", 1 << 60}, {"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
}

// humanSize shows a number of bytes in the largest unit that it fills.
func humanSize[N ~int64 | ~uint64](n N) string {
	for _, u := range units {
		if v := uint64(n); v >= u.bytes {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(v)/float64(u.bytes)), ".0") + " " + u.suffix
		}
	}
	return fmt.Sprintf("%d B", n)
}

// suffixes of sizes as people write them, in lower case. Letters alone are powers of 1024, as QEMU and LVM have it.
var suffixes = map[string]uint64{
	"": 1, "b": 1,
	"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}

// parseSize reads a size like 40GiB, 1.5T, 500GB or 1073741824.
func parseSize(s string) (int64, error) {
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
		return 0, fmt.Errorf("size %q is no whole number of bytes", s)
	}
	return int64(bytes), nil
}

// humanTime shows a moment in the local time zone; nothing for none.
func humanTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

// shortTime is humanTime for where there is little room.
func shortTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}

// datedText is shortTime of a date that may lie in the future.
func datedText(t time.Time, future bool) string {
	if future {
		return shortTime(t) + " (in the future!)"
	}
	return shortTime(t)
}

// humanDuration shows a duration in its two largest units.
func humanDuration(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// shellWord is a word as a shell has to be given it.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") == "" && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// startCommand is the command that starts a backup of a VM, whatever it is called.
func startCommand(vm, flags string) string {
	if strings.HasPrefix(vm, "-") {
		return "sendensectl backup start " + flags + " -- " + shellWord(vm)
	}
	return "sendensectl backup start " + shellWord(vm) + " " + flags
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// isOrAre counts things in the beginning of a sentence.
func isOrAre(n int, thing string) string {
	if n == 1 {
		return count(n, thing) + " is"
	}
	return count(n, thing) + " are"
}

// wrap breaks text between words, so that its lines fit the width and all but the first, before which something stands, are
// indented.
func wrap(s string, width, indent int) string {
	if width < indent+20 || indent+text.StringWidthWithoutEscSequences(s) <= width {
		return s
	}
	lines := strings.Split(strings.TrimRight(text.WrapSoft(s, width-indent), " "), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n"+strings.Repeat(" ", indent))
}

// percent is a fraction as people read it. What is not all is never shown as 100.
func percent(fraction float64) string {
	return fmt.Sprintf("%d %%", int(max(0, min(fraction, 1))*100))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
