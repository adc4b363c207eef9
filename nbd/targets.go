package nbd

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Target says where one disk of a VM is to be written.
type Target struct {
	DiskKey int    // VirtualDisk.Key, above 0
	Host    string // host name or IPv4 address, as the backup client sees it
	Port    uint16
	Export  string // see CheckExport
}

// URL is nbd://host:port/export.
func (t Target) URL() string {
	return fmt.Sprintf("nbd://%s:%d/%s", t.Host, t.Port, t.Export)
}

// A host needs neither brackets nor escaping. IPv6 is left out: SBC takes the
// brackets off, joins the parts without them and parses that again, which is no
// URL, and works with today's net/url only because it is lenient to strange
// schemes.
var plainHost = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

func (t Target) validate() error {
	switch {
	case t.DiskKey <= 0:
		return fmt.Errorf("target %s: disk key %d: must be the positive key of a VMware disk; run discovery again", t.Export, t.DiskKey)
	case strings.Contains(t.Host, ":"):
		return fmt.Errorf("target %s: host %q: the backup client makes an invalid URL of an IPv6 address; use a name or an IPv4 address", t.Export, t.Host)
	case !plainHost.MatchString(t.Host):
		return fmt.Errorf("target %s: host %q: must be a host name or an IPv4 address", t.Export, t.Host)
	case t.Port == 0:
		return fmt.Errorf("target %s: port is 0", t.Export)
	}
	return CheckExport(t.Export)
}

// TargetsString makes the one string SBC is started with:
//
//	2000:nbd://127.0.0.1:10105/test-vm-disk0,2001:nbd://127.0.0.1:10106/test-vm-disk1
//
// The order is kept. It refuses what SBC would take wrongly and in silence: no
// targets, two disks with one key, two disks at one address or with one disk
// index, a name or host that does not survive a URL parser.
func TargetsString(targets []Target) (string, error) {
	if len(targets) == 0 {
		return "", errors.New("targets: none given: a backup needs at least one disk")
	}
	keys := make(map[int]string)
	places := make(map[string]int)
	indexes := make(map[int]int)
	pairs := make([]string, 0, len(targets))
	for _, t := range targets {
		if err := t.validate(); err != nil {
			return "", err
		}
		if other, ok := keys[t.DiskKey]; ok {
			return "", fmt.Errorf("targets: exports %s and %s have the same disk key %d: run discovery again, two disks must not be written to one place",
				other, t.Export, t.DiskKey)
		}
		place := strings.ToLower(t.Host) + ":" + strconv.Itoa(int(t.Port))
		if other, ok := places[place]; ok {
			return "", fmt.Errorf("targets: disks %d and %d share %s", other, t.DiskKey, place)
		}
		index, _ := DiskIndex(t.Export)
		if other, ok := indexes[index]; ok {
			return "", fmt.Errorf("targets: disks %d and %d share the disk index %d", other, t.DiskKey, index)
		}
		keys[t.DiskKey], places[place], indexes[index] = t.Export, t.DiskKey, t.DiskKey
		pairs = append(pairs, strconv.Itoa(t.DiskKey)+":"+t.URL())
	}
	return strings.Join(pairs, ","), nil
}

// ParsedTarget is what SBC knows of one disk. All is text, unchecked.
type ParsedTarget struct {
	Host   string // "127.0.0.1" where the URL has none
	Port   string // decimal; "10809" where the URL has none
	Export string
}

// ParseTargets reads a targets string exactly as SBC does (contract §5;
// internal/target/nbd.go): split at every ',', each pair at its first ':',
// nothing trimmed, the rest given to a URL parser whose scheme nobody looks at.
// The result is keyed by the text before the colon, which SBC compares with the
// decimal key of a disk; of two equal keys the last wins. A pair that SBC skips
// with a log line is skipped here with an error in skipped.
func ParseTargets(s string) (targets map[string]ParsedTarget, skipped []error) {
	targets = make(map[string]ParsedTarget)
	for pair := range strings.SplitSeq(s, ",") {
		key, rawURL, found := strings.Cut(pair, ":")
		if !found {
			skipped = append(skipped, fmt.Errorf("target %q: no ':'", pair))
			continue
		}
		parsed, err := url.Parse(rawURL)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("target %q: %w", pair, err))
			continue
		}
		target := ParsedTarget{
			Host:   parsed.Hostname(),
			Port:   parsed.Port(),
			Export: strings.TrimPrefix(parsed.Path, "/"),
		}
		if target.Host == "" {
			target.Host = "127.0.0.1"
		}
		if target.Port == "" {
			target.Port = "10809"
		}
		targets[key] = target
	}
	return targets, skipped
}
