// Package guestfiles_test tests a restore of single files, through a virtual machine that reads the disk.
package guestfiles_test

import (
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

func TestMain(m *testing.M) { hubtest.Main(m) }
