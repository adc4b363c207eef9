// Package restores_test tests what happens to restore points: restores of disks, verifications, damage, prunes.
package restores_test

import (
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

func TestMain(m *testing.M) { hubtest.Main(m) }
