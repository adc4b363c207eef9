package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSalvage(t *testing.T) {
	const text = `
default_repository = "nas"
[agent]
state_directory = "/srv/state"
lgo_level = "debug"
[nbd]
host = "0.0.0.0"
first_port = 20000
[[repository]]
id = "main"
path = "/srv/backup"
[[repository]]
id = "nas"
path = "relative"
[vcenter.main]
host = "vcenter.example.com"
user = "backup"
password_credential = "vcenter-main"
[vcenter.bad]
host = ""
`
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Salvage(path)
	_, want := Load(path)
	if err == nil || err.Error() != want.Error() {
		t.Errorf("error %v, want %v", err, want)
	}
	kept := Default()
	kept.Agent.StateDirectory = "/srv/state"
	kept.Repositories = []Repository{{ID: "main", Path: "/srv/backup"}}
	kept.VCenters = map[string]VCenter{"main": {Host: "vcenter.example.com", User: "backup", PasswordCredential: "vcenter-main"}}
	if diff := cmp.Diff(kept, c, values); diff != "" {
		t.Error(diff)
	}
	for _, c := range badFiles {
		if err := salvage([]byte(c.text)).Validate(); err != nil {
			t.Errorf("%s: what is left is not valid: %v", c.text, err)
		}
	}
	if c, err := Salvage(filepath.Join(t.TempDir(), "none.toml")); err == nil || c.Validate() != nil {
		t.Errorf("no file: %v, %v", c, err)
	}
}

func FuzzSalvage(f *testing.F) {
	f.Add([]byte(Example()))
	for _, c := range badFiles {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := salvage(data).Validate(); err != nil {
			t.Errorf("what is left is not valid: %v", err)
		}
	})
}
