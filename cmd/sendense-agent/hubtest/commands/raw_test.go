package commands_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// talk sends bytes to the socket by a tool that people have, and returns what it prints.
func talk(t *testing.T, input string, tool ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hubtest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool[0], tool[1:]...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	if err != nil && !strings.Contains(err.Error(), "exit status") { // a tool that was cut off says so
		t.Fatalf("%s: %v", tool[0], err)
	}
	return string(out)
}

func tools() map[string][]string {
	return map[string][]string{
		"socat": {"socat", "-t30", "-", "UNIX-CONNECT:" + rpc.DefaultSocket},
		"nc":    {"nc", "-N", "-U", rpc.DefaultSocket},
	}
}

const pretty = `
{
    "jsonrpc": "2.0",
    "method": "backup.start",
    "params": {
        "vm_name": "pgtest1",
        "backup_type": "full",
        "repository_id": "main"
    },
    "id": "one"
}
`

func TestRawJSON(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize, hubtest.DiskSize)
	for name, tool := range tools() {
		t.Run(name, func(t *testing.T) {
			var answer struct {
				JSONRPC string
				ID      string
				Result  rpc.StartResponse
			}
			out := talk(t, pretty, tool...)
			if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.ID != "one" || answer.Result.Status != rpc.StatusStarted {
				t.Fatalf("%v: %s", err, out)
			}
			for i, d := range answer.Result.DiskResults {
				if d.DiskID != i || d.Status != rpc.QemuStarted || d.QemuNBDPID == 0 || d.NBDPort < 10100 || d.NBDPort > 10200 {
					t.Errorf("disk %d: %+v", i, d)
				}
			}
			if n := len(answer.Result.DiskResults); n != 2 {
				t.Errorf("%d disks", n)
			}
			h.Completes(answer.Result.BackupID, sources)
		})
	}
}

func TestRawJSONRefused(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	const status = `{"jsonrpc":"2.0","method":"agent.status","id":1}`
	for _, tt := range []struct{ name, input, want string }{
		{"disk_id", `{"jsonrpc":"2.0","method":"backup.start","params":{"vm_name":"pgtest1","backup_type":"full","disk_id":0},"id":1}`, `"reason":"disk_id_not_allowed","http_status":400`},
		{"why", `{"jsonrpc":"2.0","method":"backup.start","params":{"vm_name":"pgtest1","backup_type":"full","disk_id":0},"id":1}`, "snapshots of single disks at different times"},
		{"notification", `{"jsonrpc":"2.0","method":"agent.status"}`, ""},
		{"batch", "[" + status + `,{"jsonrpc":"2.0","method":"nope","id":2},{"jsonrpc":"2.0","method":"agent.status"},7]`, `"code":-32601`},
		{"malformed", `{"jsonrpc":"2.0","method":}`, `"code":-32700`},
		{"no request", `{"hello":"world"}`, `"code":-32600`},
		{"cut short", `{"jsonrpc":"2.0","meth`, `"code":-32700`},
		{"2 MiB", `{"jsonrpc":"2.0","method":"agent.status","id":"` + strings.Repeat("x", 2<<20) + `"}`, `"reason":"message_too_large","http_status":413`},
	} {
		for name, tool := range tools() {
			out := talk(t, tt.input, tool...)
			if !strings.Contains(out, tt.want) || tt.want == "" && out != "" {
				t.Errorf("%s by %s: %.300s, want …%s…", tt.name, name, out, tt.want)
			}
			if tt.name == "batch" {
				var answers []json.RawMessage
				if err := json.Unmarshal([]byte(out), &answers); err != nil || len(answers) != 3 {
					t.Errorf("batch by %s: %v, %d answers: %s", name, err, len(answers), out)
				}
			}
		}
	}
	if page, err := h.Dial().ListBackups(t.Context(), rpc.BackupQuery{}); err != nil || len(page.Backups) != 0 {
		t.Errorf("%v: %d backups of requests that were refused", err, len(page.Backups))
	}
}

// A client that drips its request is served, and nobody waits for it.
func TestSlowDrip(t *testing.T) {
	h := hubtest.New(t)
	slow, err := net.Dial("unix", rpc.DefaultSocket)
	hubtest.Must(t, err)
	defer slow.Close()
	answered := make(chan string)
	go func() {
		line, _ := bufio.NewReader(slow).ReadString('\n')
		answered <- line
	}()
	for i, b := range []byte(`{"jsonrpc":"2.0","method":"agent.status","id":1}`) {
		_, err := slow.Write([]byte{b})
		hubtest.Must(t, err)
		time.Sleep(10 * time.Millisecond)
		if i%10 == 0 {
			if _, err := h.Dial().Status(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	if line := <-answered; !strings.Contains(line, `"result"`) {
		t.Errorf("%s", line)
	}
}

// A watch by hand: the answer, then notifications, until the backup has ended and the tool with it.
func TestRawWatch(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	id := h.Held("pgtest1", "copy/0")
	cmd := exec.CommandContext(t.Context(), "nc", "-N", "-U", rpc.DefaultSocket)
	cmd.Stdin = strings.NewReader(`{"jsonrpc":"2.0","method":"backup.watch","params":{"backup_id":"` + id + `"},"id":1}`)
	out, err := cmd.StdoutPipe()
	hubtest.Must(t, err)
	hubtest.Must(t, cmd.Start())
	in := bufio.NewReader(out)
	for _, want := range []string{`"result":{"watch_id":1}`, `"state":"running"`, `"kind":"progress"`} {
		line, err := in.ReadString('\n')
		for strings.Contains(line, `"kind":"state"`) && !strings.Contains(line, want) { // the record changed once more
			line, err = in.ReadString('\n')
		}
		if err != nil || !strings.Contains(line, want) {
			t.Errorf("%s, %v, want …%s…", line, err, want)
		}
	}
	h.Release("copy/0")
	rest, err := io.ReadAll(in)
	hubtest.Must(t, err)
	hubtest.Must(t, cmd.Wait())
	if lines := strings.Split(strings.TrimSpace(string(rest)), "\n"); len(lines) < 2 ||
		!strings.Contains(lines[len(lines)-2], `"state":"completed"`) || !strings.Contains(lines[len(lines)-1], `"kind":"end"`) {
		t.Errorf("%s", rest)
	}
}
