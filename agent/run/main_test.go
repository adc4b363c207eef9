package run_test

import (
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
)

func TestMain(m *testing.M) { agenttest.Main(m) }
