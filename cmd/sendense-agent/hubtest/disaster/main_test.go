// Package disaster_test tests what an operator has after a loss: the database of a hub, or the whole hub.
package disaster_test

import (
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

func TestMain(m *testing.M) { hubtest.Main(m) }
