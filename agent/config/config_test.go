package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pelletier/go-toml/v2"
)

// values compares types with unexported fields. An empty list equals none.
var values = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b Duration) bool { return a == b }),
	cmp.Comparer(func(a, b Size) bool { return a == b }),
	cmp.Comparer(func(a, b Age) bool { return a == b }),
}

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestEmptyFileIsDefault(t *testing.T) {
	c, err := Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), c, values); diff != "" {
		t.Error(diff)
	}
}

func TestExampleIsDefault(t *testing.T) {
	c, err := Parse([]byte(Example()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), c, values); diff != "" {
		t.Error(diff)
	}
}

// The example shows every key; those without a default are commented out.
func TestExampleMentionsEveryKey(t *testing.T) {
	var shown []string
	table := ""
	line := regexp.MustCompile(`^#?(?:\[+([a-z_.]+)\]+|([a-z_]+) = .*)$`)
	for text := range strings.Lines(Example()) {
		m := line.FindStringSubmatch(strings.TrimSpace(text))
		switch {
		case m == nil:
		case m[1] != "":
			table = strings.Replace(m[1], "vcenter.main", "vcenter.NAME", 1) + "."
		default:
			shown = append(shown, table+m[2])
		}
	}
	if diff := cmp.Diff(Keys(), shown); diff != "" {
		t.Error(diff)
	}
}

// What is commented out in the example is valid without the "#".
func TestExampleUncommented(t *testing.T) {
	text := regexp.MustCompile(`(?m)^#([\[a-z])`).ReplaceAllString(Example(), "$1")
	c, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Repositories = []Repository{{ID: "local", Path: "/srv/backup"}}
	want.Policies = []Policy{{
		ID: "gold", KeepLast: 7, KeepDaily: 14, KeepWeekly: 8, KeepMonthly: 12, KeepYearly: 3, MinAge: AgeOf(24 * time.Hour),
		ExpiredMiddle: KeepMiddle,
	}}
	want.Groups = []Group{{
		ID: "databases", VMs: []string{"db-*", "pg??"}, VCenters: []string{"main"}, Datacenters: []string{"DC1"}, Folders: []string{"Production/*"},
		Tags: []string{"gold"}, Exclude: []string{"*-test"}, RPO: DurationOf(26 * time.Hour),
	}}
	want.Schedules = []Schedule{{
		ID: "nightly", Groups: []string{"databases"}, Calendar: "Mon..Fri 22:00", TimeZone: "Europe/Berlin", Window: DurationOf(8 * time.Hour),
		AfterWindow: FinishAfterWindow, Blackout: []string{"2026-12-24..2027-01-01"}, Type: "auto", Repository: "local", Parallel: 4, Order: OldestFirst,
		Retries: new(2), RetryWait: DurationOf(10 * time.Minute), RateLimits: []string{"07:00-19:00 50MiB"},
	}}
	want.Hooks = []Hook{{
		ID: "pg-prepare", When: BeforeVM, Schedules: []string{"nightly"}, VMs: []string{"pg-*"}, Command: []string{"/usr/local/bin/pg-prepare"},
		Credentials: []string{"pg-password"},
		TimeLimit:   DurationOf(5 * time.Minute), OnFailure: FailOnFailure,
	}}
	want.VCenters = map[string]VCenter{"main": {
		Host: "vcenter.example.com", User: "backup@vsphere.local", PasswordCredential: "vcenter-main", Datacenter: "DC1",
	}}
	if diff := cmp.Diff(want, c, values); diff != "" {
		t.Error(diff)
	}
}

// A written configuration reads back as it was.
func TestRoundTrip(t *testing.T) {
	want := Default()
	want.Repositories = []Repository{{ID: "a", Path: "/a"}, {ID: "b", Path: "/b"}}
	want.DefaultRepository = "b"
	want.Repositories[1].Policy, want.Policies = "p", []Policy{{ID: "p", KeepLast: -1, KeepWithin: AgeOf(36 * time.Hour)}}
	want.VCenters = map[string]VCenter{"x": {Host: "10.0.0.1:443", User: "u", PasswordCredential: "c"}}
	want.Groups = []Group{{ID: "g", VMs: []string{"*"}, Folders: []string{"A/*"}, Exclude: []string{"x"}, RPO: DurationOf(time.Hour)}}
	want.Schedules = []Schedule{{
		ID: "s", Groups: []string{"g"}, Calendar: "22:00", TimeZone: "Europe/Berlin", Window: DurationOf(time.Hour), Blackout: []string{"2026-12-24"},
		FullEvery: AgeOf(24 * time.Hour), Retries: new(0), RateLimits: []string{"22:00-07:00 1MiB"},
	}}
	want.Hooks = []Hook{{ID: "h", When: AfterRun, Command: []string{"/bin/true", "x y"}, Account: "nobody", OnFailure: ContinueOnFailure}}
	text, err := toml.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, values); diff != "" {
		t.Error(diff)
	}
}

func TestEveryFieldHasAKey(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range Keys() {
		for part := range strings.SplitSeq(key, ".") {
			if part == "" {
				t.Errorf("%q: a field without a toml tag", key)
			}
		}
		if seen[key] {
			t.Errorf("%s: twice", key)
		}
		seen[key] = true
	}
	if len(seen) < 50 || reflect.TypeFor[Config]().NumField() != 22 {
		t.Errorf("%d keys: the walk has lost some", len(seen))
	}
}

func TestLoadNamesFileAndLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	content := "[nbd]\nshared = 1\nfirst_prot = 1\n[sna]\ncooldwon = \"1s\"\n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	want := path + ":3: nbd.first_prot: unknown key: did you mean nbd.first_port?\n" +
		path + ":5: sna.cooldwon: unknown key: did you mean sna.cooldown?"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestLoadMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.toml")
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) || !os.IsNotExist(unwrapped(err)) {
		t.Errorf("got %v", err)
	}
}

func unwrapped(err error) error {
	for {
		inner, ok := err.(interface{ Unwrap() error })
		if !ok || os.IsNotExist(err) {
			return err
		}
		err = inner.Unwrap()
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Example()))
	f.Add([]byte(regexp.MustCompile(`(?m)^#([\[a-z])`).ReplaceAllString(Example(), "$1")))
	for _, c := range badFiles {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("an error without words")
			}
			return
		}
		text, err := toml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(text)
		if err != nil {
			t.Fatalf("written and read again: %v\n%s", err, text)
		}
		if len(again.Repositories) != len(c.Repositories) || again.SNA != c.SNA || again.NBD != c.NBD {
			t.Errorf("written and read again, it differs: %+v, was %+v", again, c)
		}
	})
}
