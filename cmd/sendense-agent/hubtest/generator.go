package hubtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Generated runs the generator over a configuration and returns what it wrote, by path.
func Generated(t *testing.T, config string) map[string]string {
	t.Helper()
	file, dir := filepath.Join(t.TempDir(), "config.toml"), t.TempDir()
	Must(t, os.WriteFile(file, []byte(config), 0o600))
	if out, err := exec.Command(Program("sendense-agent"), "--config", file, "systemd-generator", dir, dir, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found := map[string]string{}
	Must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if target, err := os.Readlink(path); err == nil {
			found[name] = target
			return nil
		}
		text, err := os.ReadFile(path)
		found[name] = string(text)
		return err
	}))
	return found
}

const (
	ServiceDropIn = "sendense-agent.service.d/50-configuration.conf"
	HttpDropIn    = "sendense-agent-http.socket.d/50-configuration.conf"
	HttpWanted    = "sockets.target.wants/sendense-agent-http.socket"
)
