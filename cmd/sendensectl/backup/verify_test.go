package backup

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/creachadair/jrpc2/handler"
	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/rpc"
)

// TestVerifyTells: damaged files are listed with what to do, and the exit code gives the result.
func TestVerifyTells(t *testing.T) {
	disk := 1
	file := func(status rpc.FileStatus, problem, hint string) rpc.VerifyFile {
		return rpc.VerifyFile{BackupID: "backup-a-1", DiskID: &disk, Path: "/r/a/backup-a-1/a-disk1.qcow2", Bytes: 3 << 20, Status: status, Problem: problem, Hint: hint}
	}
	for name, c := range map[string]struct {
		report rpc.VerifyReport
		code   int
		says   []string
	}{
		"ok": {rpc.VerifyReport{Result: rpc.VerifyOK, Files: []rpc.VerifyFile{file(rpc.FileOK, "", "")}}, exit.OK, []string{"a-disk1.qcow2", "3 MiB", "ok"}},
		"damaged": {
			rpc.VerifyReport{Result: rpc.VerifyDamaged, Files: []rpc.VerifyFile{file(rpc.FileDamaged, "is not what was written", "put it back from a copy"), file(rpc.FileOK, "", "")}},
			exit.Damaged,
			[]string{"/r/a/backup-a-1/a-disk1.qcow2", "is not what was written", "put it back from a copy", "1 file is damaged"},
		},
		"incomplete": {
			rpc.VerifyReport{Result: rpc.VerifyIncomplete, Files: []rpc.VerifyFile{file(rpc.FileUndigested, "no digest", "")}},
			exit.Failed,
			[]string{"undigested", "1 without a digest"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.report.BackupID = "backup-a-1"
			socket := commandtest.FakeAgent(t, handler.Map{
				rpc.MethodBackupVerify: handler.New(func(_ context.Context, r rpc.VerifyRequest) rpc.VerifyReport {
					if !r.Deep || r.RateLimit != 100<<20 || !r.Progress {
						t.Errorf("asked for %+v", r)
					}
					return c.report
				}),
			})
			args := []string{"backup", "verify", "backup-a-1", "--deep", "--rate-limit", "100MiB"}
			code, stdout, stderr := ctl(t, socket, "", args...)
			for _, words := range c.says {
				if code != c.code || !strings.Contains(stdout+stderr, words) {
					t.Errorf("%d, want %d and the words %q\n%s\n%s", code, c.code, words, stdout, stderr)
				}
			}
			code, stdout, _ = ctl(t, socket, "", append(args, "-o", "json")...)
			var got rpc.VerifyReport
			if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != c.code || cmp.Diff(c.report, got) != "" {
				t.Errorf("%d, error %v: %s", code, err, stdout)
			}
		})
	}
}
