package backup

import (
	"testing"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
)

func TestMain(m *testing.M) { commandtest.Main(m) }

// ctl runs a command line against the socket.
func ctl(t *testing.T, socket, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return commandtest.Run(t, []command.Noun{Command}, socket, stdin, args...)
}
