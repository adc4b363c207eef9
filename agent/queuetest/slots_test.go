package queuetest_test

import (
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/verify"
)

// TestEndOfBackupBesideVerifications: four verifications read large restore points at 1 KiB per second, so they take hours. A backup in the
// same repository and one in another end all the same.
func TestEndOfBackupBesideVerifications(t *testing.T) {
	w := agenttest.New(t, agenttest.WithSecond)
	for _, vm := range []string{"a", "b", "c", "d"} {
		_, sources := w.PutVM(vm, 16<<20)
		for at := int64(0); at < 16<<20; at += 64 << 10 {
			agenttest.Scribble(t, sources[0], at)
		}
		p := w.Point(vm, record.Full)
		v, err := w.Agent.Verifications.Start(verify.Request{BackupID: p.ID, Deep: true, RateLimit: 1 << 10})
		agenttest.Must(t, err)
		defer func() {
			_, err := w.Agent.CancelVerify(t.Context(), p.ID)
			agenttest.Must(t, err)
			<-v.Done()
		}()
	}
	w.Eventually("the verifications to read", func() bool { return w.Scrape()["sendense_verify_read_bytes_total"] > 0 })
	w.PutVM("e", 8<<20)
	w.PutVM("f", 8<<20)
	start := time.Now()
	here, there := w.Ask("e", "main"), w.Ask("f", "second")
	completes(w, here)
	completes(w, there)
	if took := time.Since(start); took > time.Minute {
		t.Errorf("the backups took %s", took)
	}
	if list, err := w.Agent.Activities(); err != nil || list["main"].Verifications != 4 {
		t.Errorf("in progress: %+v, error %v", list, err)
	}
}
