package reboottest_test

import (
	"os"
	"testing"

	"github.com/sendense/backup-agent/units/systemdtest"
)

// TestHostRestarted: the host goes down in mid copy, with everything that runs on it. What ran has failed when it is back,
// and says why; what was finished is still there, and the next incremental stands on it; no unit, lease or directory is
// left, and an SBC that comes late finds nothing.
func TestHostRestarted(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "reboottest-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755))
	for _, step := range []string{"before", "after"} {
		m, err := systemdtest.Boot(t.Context(), systemdtest.Options{Binds: []string{dir}})
		must(t, err)
		exe, err := os.Executable()
		must(t, err)
		cmd := m.Command(t.Context(), exe)
		cmd.Env = append(os.Environ(), stepEnv+"="+step, dirEnv+"="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", step, err, out)
		}
		must(t, m.Close()) // SIGKILL to every process in it
		if t.Failed() {
			return
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
