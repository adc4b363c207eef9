package crashtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/sendense/backup-agent/cmd/sendense-agent/crashtest/powerloss"
	"github.com/sendense/backup-agent/rpc"
)

// A tape takes down what the processes of a hub do to its database and its repository, and in between what the world gets to
// know of it: from then on it must be true, whatever happens to the power. A nil one takes down nothing.
type tape struct {
	powerloss.Recorder
	unmounts []func() error
	stop     func() // ends the watch

	mu    sync.Mutex
	down  bool           // there is no SNA any more: who asks it is counted and refused
	asked map[string]int // by job
}

// A notice is something that the world gets to know, or asks for.
type notice struct {
	kind     noticeKind
	id       string // of a backup
	state    rpc.BackupState
	disk     int
	changeID string
}

type noticeKind string

const (
	isBegun       noticeKind = "the operation begins"
	isReady       noticeKind = "the daemon answers"
	isStarted     noticeKind = "the start is answered"
	isAsked       noticeKind = "the SNA is asked"
	isReported    noticeKind = "the report of a disk is answered"
	isTold        noticeKind = "the state is told"
	isToBeDeleted noticeKind = "the deletion is asked for"
	isDeleted     noticeKind = "the deletion is answered"
)

func (t *tape) mark(e notice) {
	if t != nil {
		t.Mark(e)
	}
}

// insert begins to take down what happens in a hub whose directories have been made.
func (t *tape) insert(h *hub) {
	h.Helper()
	if t == nil {
		return
	}
	t.asked = map[string]int{}
	for _, dir := range []string{h.dir + "/state", h.dir + "/repository"} {
		unmount, err := t.Mount(dir)
		must(h.T, err)
		t.unmounts = append(t.unmounts, unmount)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.watch(ctx, h)
	}()
	t.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	h.Cleanup(func() {
		t.stop()
		t.eject(h)
	})
}

// eject takes the file systems away.
func (t *tape) eject(h *hub) {
	h.Helper()
	for _, unmount := range t.unmounts {
		h.eventually("nobody uses the file system any more", func() bool { return unmount() == nil })
	}
	t.unmounts = nil
}

// watch takes down each state as soon as it is told.
func (t *tape) watch(ctx context.Context, h *hub) {
	for ctx.Err() == nil {
		_ = h.with(ctx, func(c *rpc.Client) error { // it ends with the daemon, and another one comes
			for e, err := range c.Watch(ctx, rpc.WatchRequest{}) {
				if err != nil {
					return err
				}
				if e.Backup != nil {
					t.mark(notice{kind: isTold, id: e.Backup.BackupID, state: e.Backup.State})
				}
			}
			return nil
		})
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// requests is where the daemon finds the SNA.
func (t *tape) requests(h *hub) string {
	if t == nil {
		return h.sna.URL
	}
	sna := proxy(h.sna.URL)
	return serve(h, func(w http.ResponseWriter, r *http.Request) {
		body := readBody(r)
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/backup/start") {
			var request struct {
				JobID string `json:"job_id"`
			}
			if err := json.Unmarshal(body, &request); err != nil {
				h.Errorf("the SNA was sent %q: %v", body, err)
			}
			t.mark(notice{kind: isAsked, id: request.JobID})
			t.mu.Lock()
			t.asked[request.JobID]++
			t.mu.Unlock()
		}
		if t.isDown() {
			http.Error(w, "the power was off", http.StatusInternalServerError)
			return
		}
		sna.ServeHTTP(w, r)
	})
}

func (t *tape) isDown() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.down
}

// off has the SNA forget everything, and returns how often it has been asked so far.
func (t *tape) off() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.down = true
	return maps.Clone(t.asked)
}

// callbacks is where SBC finds the daemon.
func (t *tape) callbacks(h *hub) string {
	if t == nil {
		return callbackURL(h.slot)
	}
	daemon := proxy(callbackURL(h.slot))
	return serve(h, func(w http.ResponseWriter, r *http.Request) {
		body := readBody(r)
		seen := &status{ResponseWriter: w}
		if r.Method == http.MethodPost && path.Base(r.URL.Path) == "complete" {
			seen.answered = func(code int) { t.reported(h, r.URL.Path, body, code) }
		}
		daemon.ServeHTTP(seen, r)
	})
}

func (t *tape) reported(h *hub, url string, body []byte, code int) {
	var report struct {
		ChangeID string `json:"change_id"`
		DiskID   int    `json:"disk_id"`
	}
	if err := json.Unmarshal(body, &report); err != nil {
		h.Errorf("SBC sent %q: %v", body, err)
	}
	if code == http.StatusOK {
		t.mark(notice{kind: isReported, id: path.Base(path.Dir(url)), disk: report.DiskID, changeID: report.ChangeID})
	}
}

// status looks at an answer before the one who asked gets it.
type status struct {
	http.ResponseWriter
	answered func(code int)
}

func (s *status) WriteHeader(code int) {
	if s.answered != nil {
		s.answered(code)
	}
	s.ResponseWriter.WriteHeader(code)
}

// proxy passes requests on. Where no answer comes back, none is given.
func proxy(to string) http.Handler {
	target, err := url.Parse(to)
	if err != nil {
		panic(err)
	}
	p := httputil.NewSingleHostReverseProxy(target)
	p.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	return p
}

func serve(h *hub, f http.HandlerFunc) string {
	server := httptest.NewServer(f)
	h.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

func readBody(r *http.Request) []byte {
	body, err := io.ReadAll(r.Body)
	err = errors.Join(err, r.Body.Close())
	if err != nil {
		panic(http.ErrAbortHandler) // who asked has gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body
}
