package hubtest

import (
	"io"
	"net/http"
	"testing"
)

// MetricsAddress is where a hub's daemon shows its metrics.
const MetricsAddress = "127.0.0.1:9185"

// Fetch returns the status and the text of a page of the metrics' listener.
func Fetch(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + MetricsAddress + path)
	Must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	Must(t, err)
	return resp.StatusCode, string(text)
}
