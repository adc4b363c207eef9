package main

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/creachadair/jrpc2/handler"
	"github.com/jedib0t/go-pretty/v6/text"
	"pgregory.net/rapid"

	"github.com/sendense/backup-agent/rpc"
)

func TestSizes(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "512": 512, "40GiB": 40 << 30, "40G": 40 << 30, "40 gib": 40 << 30, "1.5T": 3 << 39, "500GB": 500e9, "1KiB": 1024, "0.5k": 512,
		"64TiB": 1 << 46, "9223372036854775807": 1<<63 - 1,
	} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "G", "-1", "-1G", "1e3", "0x10", "1.0000001k", "40GiBs", "NaN", "Inf", "9223372036854775808", "99999999TiB", "1_0", "1 2"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", in, got)
		}
	}
	for want, in := range map[string]uint64{"0 B": 0, "1023 B": 1023, "1 KiB": 1024, "1.5 GiB": 3 << 29, "40 GiB": 40 << 30, "16 EiB": 1<<64 - 1} {
		if got := humanSize(in); got != want {
			t.Errorf("humanSize(%d) = %q, want %q", in, got, want)
		}
	}
}

func TestSafe(t *testing.T) {
	for in, want := range map[string]string{
		"plain text": "plain text", "böse 日本": "böse 日本", "a\x1b[2Jb": `a\x1b[2Jb`, "a\r\n\tb": `a\r\n\tb`, "\xff": `\xff`,
		"\u202egnp.exe": `\u202egnp.exe`, "\u009b1m": `\u009b1m`, "\ufffd": "\ufffd",
	} {
		if got := safe(in); got != want {
			t.Errorf("safe(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTablesFitTheTerminal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(1, 8).Draw(t, "columns")
		cell := rapid.OneOf(rapid.String(), rapid.StringN(0, 300, -1), rapid.Just("completed"))
		var head []column
		for range columns {
			head = append(head, column{
				title: rapid.StringMatching(`[a-z]{1,9}`).Draw(t, "title"), rank: rapid.IntRange(0, 3).Draw(t, "rank"), most: rapid.SampledFrom([]int{0, 20}).Draw(t, "most"),
			})
		}
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, columns, columns), 0, 4).Draw(t, "rows")
		width := rapid.IntRange(columns*(9+gap), 200).Draw(t, "width")
		p := &printer{width: width, colour: true}
		p.table(head, rows)
		lines := strings.Split(strings.TrimSuffix(p.text(), "\n"), "\n")
		if len(lines) != len(rows)+1 {
			t.Fatalf("%d lines for %d rows:\n%s", len(lines), len(rows), p.text())
		}
		for _, line := range lines {
			if got := text.StringWidthWithoutEscSequences(line); got > width {
				t.Fatalf("%d cells wide, the terminal has %d: %q", got, width, line)
			}
		}
	})
}

func TestColoursOnlyWhereWanted(t *testing.T) {
	var p printer
	p.pairs("state", "failed", "empty", "")
	if got := p.text(); got != "state:  failed\n" {
		t.Errorf("got %q", got)
	}
	p = printer{colour: true}
	p.table([]column{{title: "state"}}, [][]string{{"failed"}})
	if got := p.text(); got != "STATE\n\x1b[31mfailed\x1b[0m\n" {
		t.Errorf("got %q", got)
	}
}

// What is told to be typed does what it says, whatever a VM is called.
func TestStartCommandCanBeTyped(t *testing.T) {
	var got rpc.StartRequest
	socket := fakeAgent(t, handler.Map{
		rpc.MethodBackupStart: handler.New(func(_ context.Context, r rpc.StartRequest) rpc.StartResponse {
			got = r
			return rpc.StartResponse{}
		}),
	})
	for _, vm := range []string{"pg1", "-dash", "--wait", "-- x", "SQL Server", "it's", "  lead", "a/b", "$HOME `id`", "büro"} {
		line := startCommand(vm, "--type auto --repository "+shellWord("r 1"))
		words, err := exec.Command("sh", "-c", "printf '%s\\0' "+strings.TrimPrefix(line, "sendensectl ")).Output()
		if err != nil {
			t.Fatal(err)
		}
		code, _, stderr := ctlFirst(t, socket, strings.Split(strings.TrimSuffix(string(words), "\x00"), "\x00"))
		if code != exitOK || got.VMName != vm || got.BackupType != rpc.Auto || got.RepositoryID != "r 1" {
			t.Errorf("%s: %d %q, the agent was asked for %+v", line, code, stderr, got)
		}
	}
}

// ctlFirst runs a command line, which may end its flags, against the socket.
func ctlFirst(t *testing.T, socket string, args []string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"--socket", socket}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}
