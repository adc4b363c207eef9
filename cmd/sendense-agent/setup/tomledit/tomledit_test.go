package tomledit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"
)

const example = `# What this is.
top = "" # why

[sna]
# Where.
url = "http://127.0.0.1:9081" # the tunnel

[http]
enabled = false

# A directory.
#[[repository]]
# Its name.
#id = "local"
# Where it is.
#path = "/srv/backup"
#old_keys = []

#[vcenter.main]
# Its address.
#host = "vcenter.example.com"
`

func TestSet(t *testing.T) {
	text := []byte(example)
	for _, s := range []struct {
		in     Table
		values []Value
	}{
		{Table{}, []Value{{"top", "main"}}},
		{Table{Path: []string{"sna"}}, []Value{{"url", `http://a\b"c`}, {"more", "x"}}},
		{Table{Path: []string{"http"}}, []Value{{"enabled", true}}},
		{Table{Path: []string{"repository"}, ID: "main"}, []Value{{"id", "main"}, {"path", "/a"}}},
		{Table{Path: []string{"repository"}, ID: "second"}, []Value{{"id", "second"}, {"path", "/b"}}},
		{Table{Path: []string{"repository"}, ID: "main"}, []Value{{"path", "/c"}}},
		{Table{Path: []string{"vcenter", "v.1"}}, []Value{{"host", "h"}, {"user", "u"}}},
	} {
		var err error
		if text, err = Set(text, s.in, s.values...); err != nil {
			t.Fatal(err)
		}
	}
	want := `# What this is.
top = "main" # why

[sna]
# Where.
url = "http://a\\b\"c" # the tunnel
more = "x"

[http]
enabled = true

# A directory.
[[repository]]
# Its name.
id = "main"
# Where it is.
path = "/c"
#old_keys = []

[vcenter."v.1"]
user = "u"
# Its address.
host = "h"

[[repository]]
id = "second"
path = "/b"
`
	if d := cmp.Diff(want, string(text)); d != "" {
		t.Error(d)
	}
}

// TestSetRefuses: a value of another kind, and a text that is no TOML.
func TestSetRefuses(t *testing.T) {
	for text, want := range map[string]string{"a = [1]\n": "neither", "a = \n": "toml"} {
		if got, err := Set([]byte(text), Table{}, Value{"a", "b"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// TestSetReadsBack: whatever is set is what a parser reads, and a second time changes nothing.
func TestSetReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Every printable rune; control characters are the caller's to refuse.
		to := rapid.StringMatching(`[ -~\x{a0}-\x{d7ff}]*`).Draw(t, "value")
		name := rapid.StringMatching(`[A-Za-z0-9_.-]{1,8}`).Draw(t, "name")
		in := Table{Path: []string{"vcenter", name}}
		once, err := Set([]byte(example), in, Value{"host", to}, Value{"user", "u"})
		if err != nil {
			t.Fatal(err)
		}
		twice, err := Set(once, in, Value{"host", to}, Value{"user", "u"})
		if err != nil || string(twice) != string(once) {
			t.Fatalf("%v\n%s", err, cmp.Diff(string(once), string(twice)))
		}
		var got struct {
			VCenter map[string]map[string]string `toml:"vcenter"`
		}
		if err := toml.Unmarshal(once, &got); err != nil || got.VCenter[name]["host"] != to || got.VCenter[name]["user"] != "u" {
			t.Fatalf("%v %v\n%s", err, got, once)
		}
	})
}
