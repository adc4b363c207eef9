package progress

import (
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

func TestETA(t *testing.T) {
	for _, tt := range []struct {
		name    string
		p       record.Progress
		elapsed time.Duration
		want    time.Duration
	}{
		{"half is done", record.Progress{Fraction: 0.5, BytesPerSecond: stalledRate}, time.Hour, time.Hour},
		{"a quarter is done", record.Progress{Fraction: 0.25, BytesPerSecond: stalledRate}, time.Hour, 3 * time.Hour},
		{"nothing is done", record.Progress{BytesPerSecond: stalledRate}, time.Hour, 0},
		{"all is done", record.Progress{Fraction: 1, BytesPerSecond: stalledRate}, time.Hour, 0},
		{"it stands still", record.Progress{Fraction: 0.5}, time.Hour, 0},
		{"the connection is only kept alive", record.Progress{Fraction: 0.5, BytesPerSecond: 26}, time.Hour, 0},
		{"too little is done", record.Progress{Fraction: 1e-6, BytesPerSecond: stalledRate}, time.Hour, 0},
	} {
		if got := eta(tt.p, tt.elapsed); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
