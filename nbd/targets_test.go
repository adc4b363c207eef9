package nbd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func pair() []Target {
	return []Target{
		{DiskKey: 2000, Host: "127.0.0.1", Port: 10105, Export: "test-vm-disk0"},
		{DiskKey: 2001, Host: "127.0.0.1", Port: 10106, Export: "test-vm-disk1"},
	}
}

func TestTargetsString(t *testing.T) {
	got, err := TargetsString(pair())
	want := "2000:nbd://127.0.0.1:10105/test-vm-disk0,2001:nbd://127.0.0.1:10106/test-vm-disk1"
	if err != nil || got != want {
		t.Fatalf("%s, %v", got, err)
	}
}

func TestTargetsStringRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Target){
		"same key":       func(t *Target) { t.DiskKey = 2000 },
		"key 0":          func(t *Target) { t.DiskKey = 0 },
		"negative key":   func(t *Target) { t.DiskKey = -1 },
		"same port":      func(t *Target) { t.Port = 10105 },
		"port 0":         func(t *Target) { t.Port = 0 },
		"same index":     func(t *Target) { t.Export = "other-disk0" },
		"no index":       func(t *Target) { t.Export = "test-vm" },
		"comma":          func(t *Target) { t.Export = "a,b-disk1" },
		"slash":          func(t *Target) { t.Export = "a/b-disk1" },
		"empty export":   func(t *Target) { t.Export = "" },
		"empty host":     func(t *Target) { t.Host = "" },
		"host with port": func(t *Target) { t.Host = "localhost:1" },
		"IPv6":           func(t *Target) { t.Host = "::1" },
		"IPv6, brackets": func(t *Target) { t.Host = "[::1]" },
		"user in host":   func(t *Target) { t.Host = "a@b" },
	} {
		targets := pair()
		spoil(&targets[1])
		if got, err := TargetsString(targets); err == nil {
			t.Errorf("%s: accepted as %s", name, got)
		}
	}
	if _, err := TargetsString(nil); err == nil {
		t.Error("no targets: accepted")
	}
}

func TestParseTargetsAsSBCDoes(t *testing.T) {
	for text, want := range map[string]map[string]ParsedTarget{
		"2000:nbd://h:1/a-disk0,2000:nbd://h:2/b-disk0": {"2000": {"h", "2", "b-disk0"}},       // last wins
		" 2000:nbd://h:1/a":                             {" 2000": {"h", "1", "a"}},            // not trimmed
		"2000:nbd:///a":                                 {"2000": {"127.0.0.1", "10809", "a"}}, // defaults
		"2000:":                                         {"2000": {"127.0.0.1", "10809", ""}},
		"2000:http://h:1/a?b#c":                         {"2000": {"h", "1", "a"}},
		"2000:nbd://h:1/a%20b":                          {"2000": {"h", "1", "a b"}},
		"2000:nbd://[::1]:1/a":                          {"2000": {"::1", "1", "a"}},
		"2000:nbd://h:x/a,nonsense,,2001:nbd://h:1/a":   {"2001": {"h", "1", "a"}}, // bad pairs skipped
		"": {},
	} {
		got, _ := ParseTargets(text)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	if _, skipped := ParseTargets("2000:nbd://h:x/a,nonsense,,2001:nbd://h:1/a"); len(skipped) != 3 {
		t.Errorf("skipped: %v", skipped)
	}
}

func FuzzParseTargets(f *testing.F) {
	good, _ := TargetsString(pair())
	for _, seed := range []string{
		good, "", ",", ":", "2000:", "2000:nbd://", "2000:nbd://[::1]:1/a", "2000:nbd://h:x/a", "a:%zz", "2000:nbd://u:p@h:1//a",
		"2000:nbd://h:1/a,2000:nbd://h:2/b", "\x00:\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		targets, skipped := ParseTargets(text)
		if pairs := strings.Count(text, ",") + 1; len(targets)+len(skipped) > pairs || len(targets)+len(skipped) == 0 {
			t.Fatalf("%d targets and %d skipped of %d pairs", len(targets), len(skipped), pairs)
		}
		for key, target := range targets {
			if strings.ContainsAny(key, ",:") || target.Host == "" || target.Port == "" {
				t.Fatalf("%q: %+v", key, target)
			}
		}
	})
}
