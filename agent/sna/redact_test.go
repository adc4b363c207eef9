package sna_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/sna"
)

func TestRequestsNeverShowTheirPassword(t *testing.T) {
	start := fullRequest()
	start.VCenterPassword = "hunter2"
	discover := sna.DiscoverRequest{VCenter: "v", Username: "u", Password: "hunter2", Datacenter: "DC1"}
	for _, value := range []any{start, &start, discover, &discover, []any{start, discover}, struct{ R sna.StartRequest }{start}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%10v"} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
				t.Errorf("%s of %T shows it: %s", verb, value, text)
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "request", value)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "request", value)
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Error(err)
		}
		if text := log.String() + string(encoded); strings.Contains(text, "hunter2") || !strings.Contains(text, "[redacted]") {
			t.Errorf("a log of %T shows it: %s", value, text)
		}
	}
	if text := start.String(); !strings.Contains(text, "VMPath:/DC1/vm/pgtest1") || !strings.Contains(text, "VCenterPassword:[redacted]") {
		t.Errorf("String is of no use: %s", text)
	}
	start.VCenterPassword = ""
	if text := start.String(); strings.Contains(text, "redacted") {
		t.Errorf("a password is shown where there is none: %s", text)
	}
}

func TestNewRefusesURLs(t *testing.T) {
	for _, url := range []string{
		"https://127.0.0.1:9081", "127.0.0.1:9081", "http://", "http://:9081", "http://u:hunter2@h", "http://h?x=1", "http://h/#f",
		"http://h:port", "ftp://u:hunter2@h", "http://u:hunter2@h\x7f",
	} {
		_, err := sna.New(sna.Options{URL: url})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := sna.New(sna.Options{StartTimeout: -1}); err == nil {
		t.Error("a negative time-out was accepted")
	}
	if client := newClient(t, sna.Options{}); client.URL() != "http://127.0.0.1:9081" {
		t.Errorf("default URL is %s", client.URL())
	}
}
