// Package survival_test tests what a hub must survive: a killed daemon, a lost database or key, two hundred clients at once.
package survival_test

import (
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

func TestMain(m *testing.M) { hubtest.Main(m) }
