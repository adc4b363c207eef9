package guestfiles

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"testing"
)

// FuzzStream: whatever a reader sends, content counts as complete only if the reader said so.
func FuzzStream(f *testing.F) {
	whole := []byte("{\"volume\":\"p1\"}\n\x00\x00\x00\x03abc\x00\x00\x00\x00{}\n")
	f.Add(whole)
	f.Add(whole[:20])
	f.Add([]byte("{\"error\":\"no\"}\n"))
	f.Add([]byte("{}\n\xff\xff\xff\xff"))
	f.Add([]byte("{}\n\x00\x00\x00\x00{\"error\":\"late\"}\n"))
	f.Add([]byte("{}\n\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		socket := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write(sent)
			_ = c.Close()
		}()
		_, s, err := Ask(t.Context(), socket, Request{Op: OpRead, Path: []byte("/x")})
		if err != nil {
			return
		}
		defer s.Close()
		content, err := io.ReadAll(s)
		if err == nil && !bytes.Contains(sent, []byte("\x00\x00\x00\x00")) {
			t.Errorf("%q counts as complete, as %q", sent, content)
		}
	})
}
