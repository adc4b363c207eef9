package callbacks

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"time"
)

// FuzzCallbacks reads what no SBC would send. A telemetry object is never refused, because a hint must not fail a backup. A disk
// is complete only if it is named.
func FuzzCallbacks(f *testing.F) {
	for _, body := range []string{
		`{"change_id":"52 3d/1","disk_id":0,"bytes_transferred":0}`, `{"change_id":"c"}`, `{"disk_id":-1e99}`, `{"disk_id":null}`,
		`null`, `[]`, ``, `{`, `7`, `"x"`, `{"disk_id":1,"disk_id":"2"}`,
		`{"job_id":"backup-a-1","status":"running","bytes_transferred":1.5,"progress_percent":101,"disks":[],"error":null}`,
		`{"status":7,"error":{"a":[1]},"total_bytes":1e308}`, ` {"status":"completed"} {}`, `{"total_bytes":1e400}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		object := json.Valid(body) && bytes.HasPrefix(bytes.TrimSpace(body), []byte("{"))
		said, err := parseReport(body)
		if (err == nil) != object {
			t.Errorf("telemetry %q: %v", body, err)
		}
		d := said.domain(time.Time{})
		if d.BytesTransferred < 0 && said.BytesTransferred >= 0 || math.IsNaN(d.Percent) || math.IsInf(d.BytesPerSecond, 0) {
			t.Errorf("telemetry %q: %+v", body, d)
		}
		c, err := parseComplete(body)
		if err == nil && (!object || c.DiskID == nil) {
			t.Errorf("complete %q: %+v", body, c)
		}
	})
}
