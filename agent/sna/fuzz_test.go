package sna

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func FuzzParseStartAnswer(f *testing.F) {
	for _, body := range []string{
		`{"job_id":"backup-a-1","status":"started","message":"m","started_at":"2025-10-09T10:00:00Z","pid":1}`,
		`{"status":"started"}`, `{"job_id":"backup-b-1","status":"started"}`, `{"pid":1e99}`, `{"message":"\u001b\u202e"}`, `null`, ``, `[]`, `{"JOB_ID":"x"}`,
	} {
		f.Add(200, []byte(body), "secret")
	}
	f.Fuzz(func(t *testing.T, status int, body []byte, secret string) {
		got, err := parseStartAnswer(answer{status: status, body: body, secrets: []string{secret}}, "backup-a-1")
		if err != nil {
			checkShown(t, err.Error())
			return
		}
		if status != 200 || got.JobID != "backup-a-1" || got.Status != "started" {
			t.Errorf("accepted status %d, %q as %+v", status, body, got)
		}
		checkShown(t, got.Message)
	})
}

func FuzzCleanText(f *testing.F) {
	f.Add("a\x1b[0m\n\tb", "secret")
	f.Add(strings.Repeat("ü", maxText), "ü")
	f.Add(`"p\"w"`, `p"w`)
	f.Add(strings.Repeat("e", 8*maxRaw), "e") // found in its own replacement
	f.Fuzz(func(t *testing.T, text, secret string) {
		got := cleanText(text, []string{secret})
		checkShown(t, got)
		if len(got) > maxText {
			t.Errorf("%d bytes", len(got))
		}
		// A secret made of the replacement's own letters, spaces or dots can
		// appear again; any other must be gone.
		if printable(secret) && !strings.ContainsAny(secret, redacted+" .") && strings.Contains(got, secret) {
			t.Errorf("%q shows %q", got, secret)
		}
	})
}

func FuzzDecodeInventory(f *testing.F) {
	f.Add([]byte(`{"vms":[{"disks":[{"id":"disk-2000","capacity_bytes":1}]}]}`))
	f.Add([]byte(`{"vms":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var inventory struct {
			VMs []DiscoveredVM `json:"vms"`
		}
		if err := (answer{status: 200, body: body}).decode("discover", &inventory); err != nil {
			checkShown(t, err.Error())
		}
		for _, vm := range inventory.VMs {
			for _, disk := range vm.Disks {
				if key, err := disk.Key(); err == nil && key < 0 {
					t.Errorf("%q: key %d", disk.ID, key)
				}
			}
		}
	})
}

func printable(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) < 0
}

func checkShown(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) || strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		t.Errorf("not fit to be shown: %q", text)
	}
}
