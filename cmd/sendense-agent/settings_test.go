package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/cmd/sendense-agent/settings"
)

const (
	testKey      = "0123456789abcdef0123456789abcdef0123456789abcdef"
	testPassword = "pass word"
	testToken    = "bearer-token"
	passphrase   = "correct horse battery"
)

// A site is the files of a hub.
type site struct {
	*testing.T
	dir, config, database string
}

func newSite(t *testing.T) *site {
	dir := t.TempDir()
	return &site{T: t, dir: dir, config: filepath.Join(dir, "etc", "config.toml"), database: filepath.Join(dir, "state", "agent.db")}
}

// furnish gives a hub settings of every kind, and VMs with what no manifest holds.
func (s *site) furnish() {
	s.Helper()
	for name, text := range map[string]string{
		"etc/config.toml": fmt.Sprintf("# a comment\ndefault_repository = \"main\"\n[agent]\nstate_directory = %q\nexporter_user = \"nobody\"\nexporter_group = \"\"\n"+
			"[http]\nenabled = true\ntoken_file = %q\n[vcenter.dc]\nhost = \"vc.example.com\"\nuser = \"u\"\npassword_credential = \"vcenter-dc\"\ndatacenter = \"DC1\"\n"+
			"[[repository]]\nid = \"main\"\npath = \"/srv/nowhere\"\nencryption_key = \"backup-2027\"\nold_keys = [\"backup-2026\"]\n",
			filepath.Join(s.dir, "state"), filepath.Join(s.dir, "etc", "token")),
		"etc/token": testToken, "credstore/vcenter-dc": testPassword, "credstore/backup-2027": testKey, "credstore/backup-2026": testKey + "old",
	} {
		path := filepath.Join(s.dir, name)
		must(s.T, os.MkdirAll(filepath.Dir(path), 0o755))
		must(s.T, os.WriteFile(path, []byte(text), 0o600))
	}
	s.putVM(record.VM{
		Name: "web 01/ü", InventoryPath: "/DC1/vm/web", VCenter: "dc", UUID: "42", ContextID: "c", Refresh: record.PreferRefresh, BackupInterval: "192h",
		Disks: []record.Disk{{ID: 0, UnitNumber: 1, DeviceKey: 2001, CapacityBytes: 1 << 30, Label: "Hard disk 1"}},
	}, record.VM{Name: "empty"})
}

func (s *site) putVM(list ...record.VM) {
	s.Helper()
	must(s.T, os.MkdirAll(filepath.Dir(s.database), 0o700))
	db, err := store.Open(s.database, store.Options{})
	must(s.T, err)
	for _, vm := range list {
		_, err := db.PutVM(vm)
		must(s.T, err)
	}
	must(s.T, db.Close())
}

func (s *site) vms() map[string]record.VM {
	s.Helper()
	db, err := store.Open(s.database, store.Options{})
	must(s.T, err)
	defer db.Close() //nolint:errcheck // only read
	list, _, err := db.VMs("", store.MaxPage)
	must(s.T, err)
	found := map[string]record.VM{}
	for _, vm := range list {
		vm.AddedAt = time.Time{}
		found[vm.Name] = vm
	}
	return found
}

// run runs a command of the program as a person does.
func (s *site) run(args ...string) (string, error) {
	s.Helper()
	var out bytes.Buffer
	cmd := command()
	cmd.SetArgs(append(args, "--config", s.config, "--credential-store", filepath.Join(s.dir, "credstore"), "--encrypted-store", filepath.Join(s.dir, "encrypted")))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.Execute()
	return out.String(), err
}

// descriptor is one from which a secret can be read.
func descriptor(t *testing.T, secret string) string {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	_, err = w.WriteString(secret)
	must(t, err)
	must(t, w.Close())
	t.Cleanup(func() { _ = r.Close() })
	return strconv.Itoa(int(r.Fd()))
}

// snapshot is every file of a hub with its mode and content, to show that nothing was changed.
func (s *site) snapshot() map[string]string {
	s.Helper()
	found := map[string]string{}
	must(s.T, filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		must(s.T, err)
		text, err := os.ReadFile(path)
		found[path] = info.Mode().String() + string(text)
		return err
	}))
	return found
}

// moved is a settings file for another hub: the paths of this one are in it.
func (s *site) moved(file string, to *site) string {
	s.Helper()
	text, err := os.ReadFile(file)
	must(s.T, err)
	path := filepath.Join(to.TempDir(), "settings.json")
	must(s.T, os.WriteFile(path, bytes.ReplaceAll(text, []byte(s.dir), []byte(to.dir)), 0o600))
	return path
}

func (s *site) export(args ...string) string {
	s.Helper()
	file := filepath.Join(s.TempDir(), "settings.json")
	if out, err := s.run(append([]string{"export-settings", "-o", file}, args...)...); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	info, err := os.Stat(file)
	must(s.T, err)
	if info.Mode() != 0o600 {
		s.Errorf("%s has mode %s", file, info.Mode())
	}
	text, err := os.ReadFile(file)
	must(s.T, err)
	for _, secret := range []string{testKey, testPassword, testToken, passphrase} {
		if strings.Contains(string(text), secret) {
			s.Errorf("a secret is in %s", text)
		}
	}
	return file
}

// TestSettings: what one hub exports, another has after the import: word for word, and once more nothing is left to do.
func TestSettings(t *testing.T) {
	old, hub := newSite(t), newSite(t)
	old.furnish()
	before := old.snapshot()
	file := old.moved(old.export(), hub)
	if d := cmp.Diff(before, old.snapshot()); d != "" {
		t.Errorf("the export changed something: %s", d)
	}
	out, err := hub.run("import-settings", "--dry-run", file)
	must(t, err)
	for _, line := range []string{"create   configuration", "create   vm                web 01/ü", "missing  encryption key    backup-2026", "missing  vcenter password  vcenter-dc", "this was a dry run"} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in:\n%s", line, out)
		}
	}
	if left := hub.snapshot(); len(left) != 0 {
		t.Errorf("a dry run wrote %v", left)
	}
	out, err = hub.run("import-settings", file)
	must(t, err)
	if !strings.Contains(out, "systemctl daemon-reload") {
		t.Error(out)
	}
	text, err := os.ReadFile(hub.config)
	must(t, err)
	want, err := os.ReadFile(old.config)
	must(t, err)
	if d := cmp.Diff(strings.ReplaceAll(string(want), old.dir, hub.dir), string(text)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(old.vms(), hub.vms()); d != "" {
		t.Error(d)
	}
	before = hub.snapshot()
	out, err = hub.run("import-settings", file)
	must(t, err)
	if d := cmp.Diff(before[hub.config], hub.snapshot()[hub.config]); d != "" || !strings.Contains(out, "done: 0 settings changed") {
		t.Errorf("%s%s", d, out)
	}
}

// TestSettingsSecrets: keys and passwords travel encrypted, and arrive with the right modes where the unit reads them.
func TestSettingsSecrets(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	must(t, err)
	other, err := age.GenerateX25519Identity()
	must(t, err)
	identity := func(key *age.X25519Identity) string {
		path := filepath.Join(t.TempDir(), "key.txt")
		must(t, os.WriteFile(path, []byte("# made by a test\n"+key.String()+"\n"), 0o600))
		return path
	}
	old := newSite(t)
	old.furnish()
	for name, c := range map[string]struct {
		export, wrong, open func() []string
		says                string
	}{
		"passphrase": {
			func() []string { return []string{"--passphrase-fd", descriptor(t, passphrase+"\n")} },
			func() []string { return []string{"--passphrase-fd", descriptor(t, passphrase+"x")} },
			func() []string { return []string{"--passphrase-fd", descriptor(t, passphrase)} },
			"the passphrase is wrong",
		},
		"key": {
			func() []string { return []string{"--recipient", key.Recipient().String()} },
			func() []string { return []string{"--identity", identity(other)} },
			func() []string { return []string{"--identity", identity(key)} },
			"not for this key",
		},
		"key from a descriptor": {
			func() []string { return []string{"--recipient", key.Recipient().String()} },
			func() []string { return []string{"--identity-fd", descriptor(t, "nonsense")} },
			func() []string { return []string{"--identity-fd", descriptor(t, key.String())} },
			"not a secret key of age",
		},
	} {
		t.Run(name, func(t *testing.T) {
			hub := newSite(t)
			exported := old.export(append([]string{"--secrets"}, c.export()...)...)
			// The sealed token has its path in the configuration, so the new hub has the paths of the old one.
			hub.dir, hub.config, hub.database = old.dir, old.config, old.database
			must(t, os.RemoveAll(old.dir))
			must(t, os.Mkdir(old.dir, 0o755))
			defer old.furnish()
			if out, err := hub.run(append([]string{"import-settings", exported}, c.wrong()...)...); err == nil || !strings.Contains(err.Error(), c.says) ||
				!strings.Contains(err.Error(), "nothing is changed") || len(hub.snapshot()) != 0 {
				t.Errorf("%v: %s", err, out)
			}
			out, err := hub.run(append([]string{"import-settings", exported}, c.open()...)...)
			must(t, err)
			if strings.Contains(out, testKey) {
				t.Error(out)
			}
			for name, want := range map[string]string{
				"credstore/backup-2026": testKey + "old", "credstore/backup-2027": testKey, "credstore/vcenter-dc": testPassword, "etc/token": testToken,
			} {
				path := filepath.Join(hub.dir, name)
				got, err := os.ReadFile(path)
				info, statErr := os.Stat(path)
				if err != nil || statErr != nil || string(got) != want || info.Mode() != 0o600 {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
		})
	}
}

// TestSettingsReplace: what is different on the hub stays, until somebody asks for its replacement; then it is kept, and can be put back.
func TestSettingsReplace(t *testing.T) {
	recipient, identity := keyPair(t)
	old := newSite(t)
	old.furnish()
	file := old.export("--secrets", "--recipient", recipient)
	wanted := old.vms()
	must(t, os.WriteFile(old.config, []byte(strings.Replace(old.read(old.config), "# a comment", "# another", 1)), 0o600))
	must(t, os.Chmod(old.config, 0o640))
	must(t, os.WriteFile(filepath.Join(old.dir, "credstore", "backup-2027"), []byte("another key"), 0o600))
	old.putVM(record.VM{Name: "empty", InventoryPath: "/DC1/vm/other"}, record.VM{Name: "more"})
	before := old.snapshot()
	_, err := old.run("import-settings", file, "--identity-fd", descriptor(t, identity))
	if err == nil || !strings.Contains(err.Error(), "3 settings of this hub would be replaced") || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("%v", err)
	}
	if d := cmp.Diff(before, old.snapshot()); d != "" {
		t.Errorf("something was changed: %s", d)
	}
	out, err := old.run("import-settings", file, "--replace", "--identity-fd", descriptor(t, identity))
	must(t, err)
	wanted["more"] = record.VM{Name: "more"} // nothing is removed
	if d := cmp.Diff(wanted, old.vms()); d != "" {
		t.Error(d)
	}
	info, err := os.Stat(old.config)
	if err != nil || info.Mode() != 0o640 || !strings.Contains(old.read(old.config), "# a comment") {
		t.Errorf("%v, %v", info, err)
	}
	kept, _ := filepath.Glob(filepath.Join(old.dir, "*", "*before-import*"))
	if len(kept) != 2 || strings.Count(out, "is kept as") != 2 || old.read(kept[0]) != "another key" {
		t.Fatalf("%q: %s", kept, out)
	}
	if out, err := old.run("import-settings", "--replace", kept[1]); err != nil || old.vms()["empty"].InventoryPath != "/DC1/vm/other" || !strings.Contains(old.read(old.config), "# another") {
		t.Errorf("put back: %v: %s", err, out)
	}
}

// keyPair makes a key of age. It is as good as a passphrase, which costs the race detector ten seconds each time.
func keyPair(t *testing.T) (recipient, identity string) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	must(t, err)
	return key.Recipient().String(), key.String()
}

func (s *site) read(path string) string {
	s.Helper()
	text, err := os.ReadFile(path)
	must(s.T, err)
	return string(text)
}

// TestSettingsBad: whatever is wrong with the file is said, and nothing is changed.
func TestSettingsBad(t *testing.T) {
	recipient, identity := keyPair(t)
	old := newSite(t)
	old.furnish()
	whole, sealed := old.read(old.export()), old.read(old.export("--secrets", "--recipient", recipient))
	var f settings.File
	must(t, json.Unmarshal([]byte(whole), &f))
	changed := func(change func(f *settings.File)) string {
		g := f
		g.VMs, g.Credentials = append(f.VMs[:0:0], f.VMs...), append(f.Credentials[:0:0], f.Credentials...)
		change(&g)
		text, err := g.Encode()
		must(t, err)
		return string(text)
	}
	for name, c := range map[string]struct{ text, says string }{
		"empty":           {"", "is empty"},
		"truncated":       {whole[:len(whole)-20], "is truncated"},
		"half":            {whole[:len(whole)/2], "is truncated"},
		"not JSON":        {"<html>", "is not a settings file"},
		"another JSON":    {`{"version": 1}`, "is not a settings file"},
		"newer":           {strings.Replace(whole, `"version": 1`, `"version": 2, "groups": []`, 1), `has version 2, from sendense-agent "dev", and this sendense-agent reads versions up to 1`},
		"no version":      {strings.Replace(whole, `"version": 1`, `"version": 0`, 1), "is damaged: version 0"},
		"unknown field":   {strings.Replace(whole, `"host"`, `"hots"`, 1), `unknown field "hots"`},
		"twice":           {whole + whole, "is not a settings file"},
		"bad config":      {changed(func(f *settings.File) { f.Configuration.Text += "\nnonsense = 1\n" }), "its configuration is not valid here"},
		"bad VM":          {changed(func(f *settings.File) { f.VMs[0].Disks, f.VMs[0].VMName = nil, "a\nb" }), "vm name"},
		"VM twice":        {changed(func(f *settings.File) { f.VMs = append(f.VMs, f.VMs[0]) }), "listed twice"},
		"path":            {changed(func(f *settings.File) { f.Credentials[0].Name = "../../etc/shadow" }), `"../../etc/shadow"`},
		"another's file":  {changed(func(f *settings.File) { f.Credentials[0].Name = "/etc/shadow" }), `"/etc/shadow"`},
		"damaged secrets": {strings.Replace(sealed, "-----BEGIN AGE ENCRYPTED FILE-----", "-----BEGIN AGE ENCRYPTED FILE-----\\nAAAA", 1), "secret"},
		"cut secrets":     {strings.Replace(sealed, "-----END AGE ENCRYPTED FILE-----", "", 1), "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			hub := newSite(t)
			path := filepath.Join(t.TempDir(), "odd \x1b[2J name\n.json")
			must(t, os.WriteFile(path, []byte(c.text), 0o600))
			args := []string{"import-settings", path}
			if strings.Contains(name, "secrets") {
				args = append(args, "--identity-fd", descriptor(t, identity))
			}
			out, err := hub.run(args...)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "nothing is changed") || strings.ContainsAny(err.Error(), "\x1b") {
				t.Errorf("%v: %s", err, out)
			}
			if left := hub.snapshot(); len(left) != 0 {
				t.Errorf("written: %v", left)
			}
		})
	}
}

// TestSettingsRefused: what would write a secret where others can read it, or write under a running daemon, is refused.
func TestSettingsRefused(t *testing.T) {
	old := newSite(t)
	old.furnish()
	file := old.export()
	must(t, os.WriteFile(old.config, []byte(strings.Replace(old.read(old.config), "# a comment", "", 1)), 0o640))
	key, err := age.GenerateX25519Identity()
	must(t, err)
	db, err := store.Open(old.database, store.Options{})
	must(t, err)
	defer db.Close() //nolint:errcheck // nothing was written
	before := old.snapshot()
	for says, args := range map[string][]string{
		"are for --secrets":                     {"export-settings", "--recipient", key.Recipient().String()},
		"has been seen now":                     {"export-settings", "--secrets", "--recipient", key.String()},
		"want a public key of age":              {"export-settings", "--secrets", "--recipient", "age1nonsense"},
		"shorter than 12 characters":            {"export-settings", "--secrets", "--passphrase-fd", descriptor(t, "short")},
		"nothing was to be read":                {"export-settings", "--secrets", "--passphrase-fd", descriptor(t, "")},
		"cannot be read: open it in the shell":  {"export-settings", "--secrets", "--passphrase-fd", "987"},
		"it holds no secrets":                   {"import-settings", file, "--passphrase-fd", descriptor(t, passphrase)},
		"the daemon has the database open, and": {"import-settings", file, "--replace"},
		"no such file":                          {"import-settings", filepath.Join(old.dir, "gone")},
	} {
		if out, err := old.run(args...); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(out, key.String()) {
			t.Errorf("%q: %v, want %q", args, err, says)
		}
	}
	if d := cmp.Diff(before, old.snapshot()); d != "" {
		t.Errorf("something was changed: %s", d)
	}
}
