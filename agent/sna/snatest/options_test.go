package snatest

import (
	"log/slog"
	"testing"
	"time"
)

// TestDefaultsAreReal: the defaults are those of the real SBC.
func TestDefaultsAreReal(t *testing.T) {
	o, err := Options{Logger: slog.New(slog.DiscardHandler)}.withDefaults()
	if err != nil || o.RetryDelay != time.Second || o.NoSampling || o.RequestBytes != 32<<20 || o.TelemetryInterval != 5*time.Second {
		t.Errorf("%+v, %v", o, err)
	}
}
