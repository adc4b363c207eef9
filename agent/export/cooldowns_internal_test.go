package export

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

func TestCooldowns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Cooldowns
		a := record.VM{Name: "a", InventoryPath: "/DC1/vm/a"}
		if _, ok := r.Of(a); ok || r.hasPort(10100) {
			t.Error("something rests from the beginning")
		}
		r.Add(record.Backup{ID: "b", VM: a, Runs: []record.DiskRun{{Port: 10100}}}, time.Minute)
		time.Sleep(time.Minute - 1)
		if found, ok := r.Of(a); !ok || found.BackupID != "b" || !r.hasPort(10100) {
			t.Errorf("before its end: %+v, %v", found, ok)
		}
		if _, ok := r.Of(record.VM{Name: "a2", InventoryPath: "/DC1/vm/a/"}); !ok {
			t.Error("the VM does not rest under its other name")
		}
		if _, ok := r.Of(record.VM{Name: "c", InventoryPath: "/DC1/vm/c"}); ok || r.hasPort(10101) {
			t.Error("another VM or port rests")
		}
		time.Sleep(time.Nanosecond)
		if _, ok := r.Of(a); ok || r.hasPort(10100) {
			t.Error("it does not end")
		}
	})
}
