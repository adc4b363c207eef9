// Package commands_test tests what people and programs type and send: sendensectl, completion in shells, raw JSON on the socket, and who may.
package commands_test

import (
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

func TestMain(m *testing.M) { hubtest.Main(m) }
