package setup

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/config"
)

// TestRunSteps: the error says what is done, what is not, and how to go on; an interruption does too, whichever step it hits.
func TestRunSteps(t *testing.T) {
	ok := func(context.Context) error { return nil }
	broken := func(context.Context) error { return errors.New("no room") }
	err := runSteps(t.Context(), new(bytes.Buffer), []step{{"a", "hint a", ok}, {"b", "hint b", broken}, {"c", "", ok}})
	if want := "b: no room\nDone: a.\nNot done: b; c.\nhint b"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	for at, want := range []string{"Done: nothing.\nNot done: 0; 1; 2.", "Done: 0.\nNot done: 1; 2.", "Done: 0; 1.\nNot done: 2."} {
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		var list []step
		for i, name := range []string{"0", "1", "2"} {
			list = append(list, step{name, "", func(context.Context) error {
				if i == at {
					interrupt()
				}
				return ctx.Err()
			}})
		}
		if err := runSteps(ctx, new(bytes.Buffer), list); err == nil || !strings.Contains(err.Error(), "interrupted\n"+want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestWriteConfig: a file that somebody else has changed meanwhile is not replaced, and a failure leaves the old content and nothing
// beside it.
func TestWriteConfig(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write("log = 1\n")
	p := &plan{now: &configuration{path: path, exists: true, text: []byte("log = 1\n")}, text: []byte("log = 2\n")}
	write("log = 3\n")
	if err := p.writeConfig(new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Error(err)
	}
	if names, _ := filepath.Glob(dir + "/*"); len(names) != 1 {
		t.Errorf("files: %v", names)
	}
	write("log = 1\n")
	if err := p.writeConfig(new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	info, _ := os.Stat(path)
	if err != nil || string(text) != "log = 2\n" || info.Mode().Perm() != 0o640 {
		t.Errorf("%q %v %v", text, info.Mode(), err)
	}
	if names, _ := filepath.Glob(dir + "/*"); len(names) != 2 {
		t.Errorf("files: %v", names)
	}
}

// TestWith: a file that is written in another way than the setup can change is left alone, and the error says so.
func TestWith(t *testing.T) {
	answers := Answers{RepositoryID: "main", RepositoryPath: "/srv/backup", VCenter: "main", Host: "h", User: "u", Datacenter: "D", SNA: "http://127.0.0.1:9081"}
	for _, text := range []string{
		"sna.url = \"http://127.0.0.1:1\"\n",
		"vcenter.main = {host = \"a\", user = \"u\", password_credential = \"p\"}\n",
		"repository = [{id = \"main\", path = \"/srv/backup\"}]\n",
	} {
		parsed, err := config.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		c := &configuration{path: "config.toml", exists: true, text: []byte(text), config: parsed}
		if got, _, err := c.with(answers); err == nil || !strings.Contains(err.Error(), "config.toml is written in a way that the setup cannot change") {
			t.Errorf("%s\n%v", got, err)
		}
	}
	for _, text := range []string{"", config.Example(), "[sna]\nurl = \"http://127.0.0.1:1\"\n[vcenter]\n[vcenter.main]\nhost = 'x'\nuser = \"\"\"y\"\"\"\npassword_credential = \"p\"\n"} {
		parsed, err := config.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		c := &configuration{path: "config.toml", exists: true, text: []byte(text), config: parsed}
		once, _, err := c.with(answers)
		if err != nil {
			t.Errorf("%s\n%v", text, err)
			continue
		}
		parsed, err = config.Parse(once)
		if err != nil {
			t.Fatal(err)
		}
		c = &configuration{path: "config.toml", exists: true, text: once, config: parsed}
		if twice, _, err := c.with(answers); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%v\n%s\n%s", err, once, twice)
		}
	}
}
