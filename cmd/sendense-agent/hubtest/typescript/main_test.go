// Package typescript_test tests that the OpenRPC document of the daemon is valid, and that a client that is generated from it works.
package typescript_test

import (
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

func TestMain(m *testing.M) { hubtest.Main(m) }
