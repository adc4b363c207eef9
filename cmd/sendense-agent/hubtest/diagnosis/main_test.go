// Package diagnosis_test tests the doctor: that it finds every trouble and names it, finds nothing on a healthy hub, and leaves nothing behind; and the generator,
// which gives the daemon its rights.
package diagnosis_test

import (
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

func TestMain(m *testing.M) { hubtest.Main(m) }
