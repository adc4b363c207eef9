package agenttest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// GiveKeys writes keys, by id, where systemd puts the daemon's credentials. It returns a function that changes a key; empty content
// removes it.
func GiveKeys(t testing.TB, keys map[string]string) func(id, content string) {
	t.Helper()
	dir := systemdtest.DiskDir(t)
	Must(t, os.Chmod(dir, 0o700)) // as systemd does
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	give := func(id, content string) {
		t.Helper()
		path := filepath.Join(dir, id)
		Must(t, os.RemoveAll(path))
		if content != "" {
			Must(t, os.WriteFile(path, []byte(content), 0o400))
		}
	}
	for id, content := range keys {
		give(id, content)
	}
	return give
}

// Encrypted configures the repository to encrypt with a key. old are the keys of older restore points.
func Encrypted(key string, old ...string) func(*config.Config, *snatest.Options) {
	return func(c *config.Config, _ *snatest.Options) {
		c.Repositories[0].EncryptionKey, c.Repositories[0].OldKeys = key, old
	}
}

// Rotate restarts the agent with other keys.
func (w Keys) Rotate(key string, old ...string) {
	w.Helper()
	w.Stop()
	Encrypted(key, old...)(w.Config, nil)
	w.Start()
}

// HoldsNothingOf fails the test if a file below a directory contains data from the first MiB of a source.
func (w Keys) HoldsNothingOf(dir string, sources ...string) {
	w.Helper()
	var samples [][]byte
	for _, s := range sources {
		content, err := os.ReadFile(s)
		Must(w.TB, err)
		for at := 0; at < 1<<20; at += 64 << 10 { // a sample of every cluster
			samples = append(samples, content[at:at+32])
		}
	}
	looked := 0
	Must(w.TB, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, s := range samples {
			if bytes.Contains(content, s) {
				w.Errorf("%s holds what is based on the disk", path)
				break
			}
		}
		looked++
		return err
	}))
	if looked == 0 {
		w.Errorf("nothing is in %s", dir)
	}
}

// WantError fails the test unless err is about key-1 of repository main, has words in its message, says what to do, and contains
// nothing of the key.
func (w Keys) WantError(what string, err error, words string) {
	w.Helper()
	e := fault.From(err)
	if e == nil || e.Reason != fault.KeyUnavailable {
		w.Errorf("%s: %v", what, err)
		return
	}
	for _, want := range []string{"repository main", `"key-1"`, words} {
		if !strings.Contains(e.Message, want) {
			w.Errorf("%s: %q does not say %s", what, e.Message, want)
		}
	}
	if strings.Contains(e.Message+e.Hint, FirstKey[:8]) || !strings.Contains(e.Hint, "/etc/credstore/key-1") && words != "old_keys" {
		w.Errorf("%s: hint %q", what, e.Hint)
	}
}
