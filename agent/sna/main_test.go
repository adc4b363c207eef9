package sna_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/sna"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience limits every wait; it is long enough for a very busy machine.
const patience = 5 * time.Minute

// within limits the calls of a test.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func newClient(t *testing.T, options sna.Options) *sna.Client {
	t.Helper()
	client, err := sna.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

const password = `p4"ss\wörd<&> %2F`

func fullRequest() sna.StartRequest {
	return sna.StartRequest{
		JobID:           "backup-pgtest1-1760000000",
		VMName:          "pgtest1",
		VMPath:          "/DC1/vm/pgtest1",
		VCenterHost:     "vcenter.example",
		VCenterUser:     "backup@vsphere.local",
		VCenterPassword: password,
		NBDTargets:      "2000:nbd://127.0.0.1:10105/pgtest1-disk0",
		BackupType:      sna.BackupFull,
		NBDHost:         "127.0.0.1",
	}
}

// rawSNA is a TCP server that hands every connection to a handler and counts
// what was sent to it.
type rawSNA struct {
	URL      string
	listener net.Listener
	handlers sync.WaitGroup

	mu          sync.Mutex
	connections int
	requests    int
	bytes       int
}

// serveRaw handles connections until the test's end. The handler gets the
// connection with one whole request read from it.
func serveRaw(t *testing.T, handle func(*net.TCPConn)) *rawSNA {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawSNA{URL: "http://" + listener.Addr().String(), listener: listener}
	s.handlers.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.connections++
			s.mu.Unlock()
			s.handlers.Go(func() { s.serve(conn.(*net.TCPConn), handle) })
		}
	})
	t.Cleanup(s.close)
	return s
}

func (s *rawSNA) close() {
	_ = s.listener.Close()
	s.handlers.Wait()
}

func (s *rawSNA) serve(conn *net.TCPConn, handle func(*net.TCPConn)) {
	defer conn.Close()
	reader := bufio.NewReader(countingReader{conn, s})
	for first := true; ; first = false {
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return
		}
		s.mu.Lock()
		s.requests++
		s.mu.Unlock()
		if first {
			handle(conn)
		}
	}
}

type countingReader struct {
	io.Reader
	s *rawSNA
}

func (r countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.s.mu.Lock()
	r.s.bytes += n
	r.s.mu.Unlock()
	return n, err
}

// counts ends the server first, so that nothing can still arrive.
func (s *rawSNA) counts() (connections, requests, bytes int) {
	s.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections, s.requests, s.bytes
}
