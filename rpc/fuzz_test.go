package rpc

import (
	"errors"
	"net"
	"strings"
	"testing"
)

// FuzzAnswers lets a client read what no agent would send. A call returns with its answer, or with an error that has a text,
// and the client can be closed.
func FuzzAnswers(f *testing.F) {
	for _, answer := range []string{
		`{"jsonrpc":"2.0","id":1,"result":{"backups":[{"backup_id":"backup-a-1"}]}}`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":-32004,"message":"no","data":{"reason":"vm_not_found","http_status":404}}}`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}`,
		`{"jsonrpc":"2.0","method":"backup.event","params":{"watch":1}}{"jsonrpc":"2.0","id":1,"result":{}}`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x","data":[]}}`, `[{"jsonrpc":"2.0","id":1,"result":7}]`,
		`{"jsonrpc":"2.0","id":2,"result":{}}`, `{"id":1}`, `{`, `null`, `[]`, ``, "\x00", `{"jsonrpc":"2.0","id":1,"result":{},"error":{}}`,
	} {
		f.Add([]byte(answer))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			request := make([]byte, 4096)
			if _, err := theirs.Read(request); err == nil {
				_, _ = theirs.Write(answer) // the client may have closed it
			}
			_ = theirs.Close()
		}()
		c := NewClient(ours, "fuzz")
		_, err := c.ListBackups(t.Context(), BackupQuery{})
		if err != nil && strings.TrimSpace(err.Error()) == "" {
			t.Error("an error without a text")
		}
		var said *Error
		if errors.As(err, &said) && said.Data.Reason != "" && !strings.Contains(string(answer), "error") {
			t.Errorf("%q counts as the agent's own error %v", answer, said)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
}
