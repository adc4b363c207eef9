package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChanged(t *testing.T) {
	changed := func(before, after string) []string {
		t.Helper()
		b, err := Parse([]byte(before))
		if err != nil {
			t.Fatal(err)
		}
		a, err := Parse([]byte(after))
		if err != nil {
			t.Fatal(err)
		}
		keys, err := Changed(b, a)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	vcenter := "[vcenter.main]\nhost = \"a\"\nuser = \"u\"\npassword_credential = \"c\"\n"
	repository := "[[repository]]\nid = \"a\"\npath = \"/srv/a\"\n"
	for _, tt := range []struct {
		before, after string
		want          []string
	}{
		{"", "", nil},
		{Example(), "", nil},
		{"", "[agent]\nlog_level = \"debug\"\n", []string{"agent.log_level"}},
		{"[sna]\nstart_timeout = \"60s\"\n", "[sna]\nstart_timeout = \"1m\"\n", nil},
		{repository, "", []string{"repository"}},
		{repository, "[[repository]]\nid = \"b\"\npath = \"/srv/a\"\n", []string{"repository"}},
		{"", vcenter, []string{"vcenter.main.datacenter", "vcenter.main.host", "vcenter.main.password_credential", "vcenter.main.user"}},
		{"[space]\nreserve = \"2GiB\"\n", "[nbd]\nshared = 20\n", []string{"nbd.shared", "space.reserve"}},
	} {
		if diff := cmp.Diff(tt.want, changed(tt.before, tt.after)); diff != "" {
			t.Errorf("from %q to %q:\n%s", tt.before, tt.after, diff)
		}
	}
}
