package nbd

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Target says where the client writes one disk of a VM.
type Target struct {
	DiskKey int    // VirtualDisk.Key, above 0
	Host    string // host name or IPv4 address that the backup client connects to
	Port    uint16
	Export  string // see CheckExport
}

// URL returns nbd://host:port/export.
func (t Target) URL() string {
	return fmt.Sprintf("nbd://%s:%d/%s", t.Host, t.Port, t.Export)
}

// A host needs neither brackets nor escaping. IPv6 is refused: SBC removes the
// brackets, joins the parts without them and parses the result again. That is
// not a URL; net/url accepts it today only because it is lenient with unknown
// schemes.
var plainHost = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

func (t Target) validate() error {
	switch {
	case t.DiskKey <= 0:
		return fmt.Errorf("target %s: disk key %d: must be the positive key of a VMware disk; run discovery again", t.Export, t.DiskKey)
	case strings.Contains(t.Host, ":"):
		return fmt.Errorf("target %s: host %q: the backup client builds an invalid URL from an IPv6 address; use a name or an IPv4 address", t.Export, t.Host)
	case !plainHost.MatchString(t.Host):
		return fmt.Errorf("target %s: host %q: must be a host name or an IPv4 address", t.Export, t.Host)
	case t.Port == 0:
		return fmt.Errorf("target %s: port is 0", t.Export)
	}
	return CheckExport(t.Export)
}

// TargetsString builds the string that SBC is started with:
//
//	2000:nbd://127.0.0.1:10105/test-vm-disk0,2001:nbd://127.0.0.1:10106/test-vm-disk1
//
// The order is kept. It refuses what SBC would silently misread: no targets, two
// disks with the same key, the same address or the same disk index, and a name
// or host that a URL parser changes.
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
			return "", fmt.Errorf("targets: exports %s and %s have the same disk key %d: run discovery again, two disks must not be written to the same place",
				other, t.Export, t.DiskKey)
		}
		place := strings.ToLower(t.Host) + ":" + strconv.Itoa(int(t.Port))
		if other, ok := places[place]; ok {
			return "", fmt.Errorf("targets: disks %d and %d have the same address %s", other, t.DiskKey, place)
		}
		index, _ := DiskIndex(t.Export)
		if other, ok := indexes[index]; ok {
			return "", fmt.Errorf("targets: disks %d and %d have the same disk index %d", other, t.DiskKey, index)
		}
		keys[t.DiskKey], places[place], indexes[index] = t.Export, t.DiskKey, t.DiskKey
		pairs = append(pairs, strconv.Itoa(t.DiskKey)+":"+t.URL())
	}
	return strings.Join(pairs, ","), nil
}

// ParsedTarget is what SBC reads about one disk: text, unchecked.
type ParsedTarget struct {
	Host   string // "127.0.0.1" if the URL has none
	Port   string // decimal; "10809" if the URL has none
	Export string
}

// ParseTargets reads a targets string exactly as SBC does (contract §5;
// internal/target/nbd.go): it splits at every ',' and each pair at its first
// ':', trims nothing, and parses the rest as a URL without a look at the scheme.
// The keys of the result are the text before the colon, which SBC compares with
// the decimal key of a disk; of two equal keys the last one counts. For a pair
// that SBC skips with a log line, skipped has an error.
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
