// Package monitoring_test tests what an operator watches: metrics, alerts, dashboard, logs, the log level, and the documents that describe them.
package monitoring_test

import (
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

func TestMain(m *testing.M) { hubtest.Main(m) }
