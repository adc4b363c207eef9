package sna_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/sna"
)

func say(text string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		_, _ = io.WriteString(conn, text)
		_ = conn.CloseWrite()
	}
}

func answer(status, body string) func(*net.TCPConn) {
	return say(fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body))
}

func resetAfter(text string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		_, _ = io.WriteString(conn, text)
		time.Sleep(5 * time.Millisecond) // a reset may overtake what was sent
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}

// silence waits until the client disconnects.
func silence(conn *net.TCPConn) { _, _ = conn.Read(make([]byte, 1)) }

func drip(conn *net.TCPConn) {
	for {
		if _, err := io.WriteString(conn, "H"); err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

const okBody = `{"job_id":"backup-pgtest1-1760000000","status":"started"}`

func TestStartOutcomes(t *testing.T) {
	for _, test := range []struct {
		name    string
		server  func(*net.TCPConn)
		refused int    // the status of a *RefusedError
		text    string // in the error
	}{
		{"400", answer("400 Bad Request", "Validation failed: vm_path is required\n"), 400, "400: Validation failed: vm_path is required"},
		{"500", answer("500 Internal Server Error", "Process start failed"), 500, "Process start failed"},
		{"599", answer("599 Odd", ""), 599, "no text"},
		{"500 chunked", say("HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n"), 500, "bad"},
		{"500 ended by close", say("HTTP/1.0 500 X\r\n\r\nno binary"), 500, "no binary"},
		{"500 control characters", answer("500 X", "a\x1b[31m\tb\x00\r\nc\u202e\xff"), 500, "500: a [31m b c"},
		{"500 long", answer("500 X", strings.Repeat("y", 60<<10)), 500, "yyy ..."},
		{"500 echo of the password", answer("500 X", "login with "+password+" failed"), 500, "login with [redacted] failed"},

		{"500 cut off", say("HTTP/1.1 500 X\r\nContent-Length: 10\r\n\r\nbad"), 0, "broke off"},
		{"500 chunk cut off", say("HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n"), 0, "broke off"},
		{"500 too long", answer("500 X", strings.Repeat("y", 1<<20)), 0, "more than 65536 bytes"},
		{"200 no JSON", answer("200 OK", "<html>"), 0, "unreadable JSON"},
		{"200 empty", answer("200 OK", ""), 0, "unreadable JSON"},
		{"200 JSON and more", answer("200 OK", okBody+"{}"), 0, "unreadable JSON"},
		{"200 other types", answer("200 OK", `{"job_id":7,"status":"started"}`), 0, "unreadable JSON"},
		{"200 not an object", answer("200 OK", `["started"]`), 0, "unreadable JSON"},
		{"200 null", answer("200 OK", `null`), 0, `status ""`},
		{"200 failed", answer("200 OK", `{"job_id":"backup-pgtest1-1760000000","status":"failed"}`), 0, `status "failed"`},
		{"200 other job", answer("200 OK", `{"job_id":"backup-b-1","status":"started"}`), 0, `"backup-b-1"`},
		{"200 cut off", say("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + okBody), 0, "broke off"},
		{"200 too long", answer("200 OK", okBody+strings.Repeat(" ", 1<<20)), 0, "more than 65536 bytes"},
		{"200 endless header", say("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20)), 0, ""},
		{"202", answer("202 Accepted", okBody), 0, "status 202"},
		{"204", say("HTTP/1.1 204 No Content\r\n\r\n"), 0, "status 204"},
		{"301", say("HTTP/1.1 301 M\r\nLocation: /api/v1/backup/start\r\nContent-Length: 0\r\n\r\n"), 0, "status 301"},
		{"307", say("HTTP/1.1 307 T\r\nLocation: /api/v1/backup/start\r\nContent-Length: 0\r\n\r\n"), 0, "status 307"},
		{"308", say("HTTP/1.1 308 P\r\nLocation: /api/v1/backup/start\r\nContent-Length: 0\r\n\r\n"), 0, "status 308"},
		{"401 needs no second try", answer("401 U", "who?"), 401, "who?"},
		{"408 invites a retry", say("HTTP/1.1 408 T\r\nConnection: close\r\nContent-Length: 4\r\n\r\nslow"), 408, "slow"},
		{"503 retry after", say("HTTP/1.1 503 B\r\nRetry-After: 0\r\nContent-Length: 4\r\n\r\nbusy"), 503, "busy"},
		{"no HTTP", say("SSH-2.0-OpenSSH_9.2\r\n"), 0, ""},
		{"closed without a word", say(""), 0, "EOF"},
		{"reset without a word", resetAfter(""), 0, "reset"},
		{"reset in the header", resetAfter("HTTP/1.1 200 OK\r\nConte"), 0, ""},
		{"reset in the body", resetAfter("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"), 0, "broke off"},
		{"silence", silence, 0, "within 150ms"},
		{"slow header", drip, 0, ""},
		{"slow body", func(c *net.TCPConn) { say("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{")(c); silence(c) }, 0, ""},
		{"endless 100", func(c *net.TCPConn) {
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
					return
				}
			}
		}, 0, ""},
		{"101", func(c *net.TCPConn) {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
			silence(c)
		}, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := serveRaw(t, test.server)
			timeout := 150 * time.Millisecond
			if test.refused != 0 { // an answer that counts must come, however busy the machine
				timeout = patience
			}
			client := newClient(t, sna.Options{URL: server.URL, StartTimeout: timeout})
			_, err := client.Start(within(t), fullRequest())
			checkOutcome(t, err, test.refused)
			if err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %q does not say %q", err, test.text)
			}
			if connections, requests, _ := server.counts(); connections != 1 || requests != 1 {
				t.Errorf("%d connections and %d requests instead of one", connections, requests)
			}
		})
	}
}

func checkOutcome(t *testing.T, err error, status int) {
	t.Helper()
	var (
		refused *sna.RefusedError
		unknown *sna.OutcomeUnknownError
	)
	switch {
	case err == nil:
		t.Fatal("no error")
	case status != 0:
		if !errors.As(err, &refused) || refused.StatusCode != status || !sna.NotStarted(err) {
			t.Errorf("got %v, want a refusal with status %d", err, status)
		}
	case !errors.As(err, &unknown) || sna.NotStarted(err):
		t.Errorf("got %v, want an unknown outcome", err)
	}
	text := fmt.Sprintf("%v %+v", err, err)
	if strings.Contains(text, password) || len(text) > 3*(4<<10) {
		t.Errorf("the error shows the password or too much: %q", text)
	}
	for _, r := range text {
		if r < ' ' {
			t.Errorf("control character %q in %q", r, text)
		}
	}
}

// A server that closes its connections after every answer, or promises to keep
// them open and does not, must not make net/http send anything twice.
func TestStartsInARowUseOneConnectionEach(t *testing.T) {
	server := serveRaw(t, func(conn *net.TCPConn) {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s", len(okBody), okBody)
		_ = conn.SetLinger(0)
	})
	client := newClient(t, sna.Options{URL: server.URL})
	const starts = 50
	for range starts {
		if _, err := client.Start(within(t), fullRequest()); err != nil {
			t.Fatal(err)
		}
	}
	if connections, requests, _ := server.counts(); connections != starts || requests != starts {
		t.Errorf("%d connections and %d requests for %d starts", connections, requests, starts)
	}
}

func TestStartUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + listener.Addr().String()
	_ = listener.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name, url string
		ctx       context.Context
		want      error
	}{
		{"refused", closed, within(t), syscall.ECONNREFUSED},
		{"no such host", "http://sna.invalid:9081", within(t), nil},
		{"no answer to SYN", fullListener(t), within(t), nil},
		{"context ended before", closed, ended, context.Canceled},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := newClient(t, sna.Options{URL: test.url, ConnectTimeout: 200 * time.Millisecond})
			_, err := client.Start(test.ctx, fullRequest())
			var unreachable *sna.UnreachableError
			if !errors.As(err, &unreachable) || !sna.NotStarted(err) {
				t.Fatalf("got %v, want unreachable", err)
			}
			if test.want != nil && !errors.Is(err, test.want) && !strings.Contains(err.Error(), test.want.Error()) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// fullListener is the URL of a socket whose queue is full: it answers no SYN.
func fullListener(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 16 {
		conn, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return "http://" + address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue of a listener could not be filled")
	return ""
}

// Whenever the caller gives up, "nothing was sent" must be true.
func TestUnreachableMeansThatNothingWasSent(t *testing.T) {
	for range 150 {
		server := serveRaw(t, answer("200 OK", okBody))
		client := newClient(t, sna.Options{URL: server.URL})
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(600*time.Microsecond))))
		_, err := client.Start(ctx, fullRequest())
		cancel()
		connections, requests, bytes := server.counts()
		var unreachable *sna.UnreachableError
		if errors.As(err, &unreachable) && bytes > 0 {
			t.Fatalf("%d bytes arrived, yet: %v", bytes, err)
		}
		if err == nil && requests != 1 || requests > 1 || connections > 1 {
			t.Fatalf("%d connections, %d requests, error %v", connections, requests, err)
		}
		if err != nil && !errors.As(err, &unreachable) && sna.NotStarted(err) {
			t.Fatalf("NotStarted for %v", err)
		}
	}
}

func TestCancelAfterSendingLeavesTheOutcomeUnknown(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t))
	server := serveRaw(t, func(conn *net.TCPConn) { cancel(); silence(conn) })
	_, err := newClient(t, sna.Options{URL: server.URL}).Start(ctx, fullRequest())
	checkOutcome(t, err, 0)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancellation", err)
	}
}

func TestProxyFromTheEnvironmentIsNotUsed(t *testing.T) {
	proxy := serveRaw(t, answer("200 OK", okBody))
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	server := serveRaw(t, answer("200 OK", okBody))
	// net/http spares loopback addresses the proxy; this name is none to it.
	client := newClient(t, sna.Options{URL: strings.Replace(server.URL, "127.0.0.1", "127.0.0.1.", 1)})
	_, _ = client.Start(within(t), fullRequest())
	if connections, _, _ := proxy.counts(); connections != 0 {
		t.Error("the proxy was used")
	}
}
