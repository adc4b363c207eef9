package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/rpc"
)

func watchCall(id int, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":"backup.watch","params":%s,"id":%d}`, params, id)
}

const unwatch1 = `{"jsonrpc":"2.0","method":"backup.unwatch","params":{"watch_id":1},"id":9}`

// shorten returns what distinguishes the lines: the id of an answer, or kind and state of an event.
func shorten(t *testing.T, out string) string {
	t.Helper()
	var short []string
	for line := range strings.Lines(out) {
		var m struct {
			ID     any
			Error  *rpc.Error
			Method string
			Params rpc.Event
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch {
		case m.Error != nil:
			short = append(short, string(m.Error.Data.Reason))
		case m.Method == "":
			short = append(short, fmt.Sprint("#", m.ID))
		case m.Params.Backup != nil:
			short = append(short, fmt.Sprint(m.Params.WatchID, " ", m.Params.Kind, " ", m.Params.Backup.State))
		default:
			short = append(short, fmt.Sprint(m.Params.WatchID, " ", m.Params.Kind))
		}
	}
	return strings.Join(short, ", ")
}

func TestWatchOfOneBackupEndsWithIt(t *testing.T) {
	s := newFakeSource()
	nc := dial(t, serve(t, Options{}, s.rows()))
	io.WriteString(nc, watchCall(7, `{"backup_id":"b"}`))
	w := <-s.begun
	w.tell(t, record.Running)
	w.send(t, events.Event{Kind: events.Progress, Backup: record.Backup{State: record.Running}, Progress: &record.Progress{Fraction: 0.5}})
	w.tell(t, record.Finishing, record.Completed)
	w.ends(t)
	nc.CloseWrite()
	out, err := io.ReadAll(nc)
	const want = "#7, 1 state running, 1 progress running, 1 state finishing, 1 state completed, 1 end"
	if got := shorten(t, string(out)); err != nil || got != want || !strings.Contains(string(out), `"fraction":0.5`) {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	if w.query != (events.Query{BackupID: "b"}) {
		t.Errorf("%+v", w.query)
	}
}

func TestLastStateIsNotLostWithDroppedEvents(t *testing.T) {
	s := newFakeSource()
	s.last = record.Failed
	nc := dial(t, serve(t, Options{}, s.rows()))
	io.WriteString(nc, watchCall(1, `{"backup_id":"b"}`))
	w := <-s.begun
	w.send(t, events.Event{Kind: events.Dropped, Dropped: 3})
	w.ends(t)
	nc.CloseWrite()
	out, err := io.ReadAll(nc)
	if got := shorten(t, string(out)); err != nil || got != "#1, 1 dropped, 1 state failed, 1 end" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestUnwatch(t *testing.T) {
	s := newFakeSource()
	nc := dial(t, serve(t, Options{}, s.rows()))
	in := bufio.NewReader(nc)
	next := func(want string) {
		t.Helper()
		line, err := in.ReadString('\n')
		if got := shorten(t, line); err != nil || got != want {
			t.Fatalf("got %s, %v, want %s", got, err, want)
		}
	}
	io.WriteString(nc, watchCall(1, `{}`))
	next("#1")
	io.WriteString(nc, watchCall(2, `{"vm_name":"a"}`))
	next("#2")
	first, second := <-s.begun, <-s.begun
	first.tell(t, record.Completed) // one of many: the watch continues
	next("1 state completed")
	io.WriteString(nc, unwatch1)
	next("#9")
	first.ends(t)
	io.WriteString(nc, unwatch1) // it has ended: no error
	next("#9")
	second.tell(t, record.Running)
	next("2 state running")
	close(second.events) // the agent stops
	next("2 end")
}

func TestWatchRefused(t *testing.T) {
	s := newFakeSource()
	socket := serve(t, Options{}, s.rows())
	if got := shorten(t, converse(t, socket, watchCall(1, `{"backup_id":"gone"}`))); got != "backup_not_found" {
		t.Errorf("unknown backup: %s", got)
	}
	if got := converse(t, socket, `{"jsonrpc":"2.0","method":"backup.watch"}`); got != "" || len(s.begun) != 0 {
		t.Errorf("a notification: %q, %d watches", got, len(s.begun))
	}
	nc := dial(t, socket)
	in := bufio.NewReader(nc)
	for i := range maxWatches + 1 {
		io.WriteString(nc, watchCall(i, `{}`))
		line, err := in.ReadString('\n')
		want := fmt.Sprint("#", i)
		if i == maxWatches {
			want = "too_many_watches"
		}
		if got := shorten(t, line); err != nil || got != want {
			t.Errorf("watch %d: %s, %v", i, got, err)
		}
	}
}

// TestWatchInABatch: in a batch too, the answer that names the watch comes before its events.
func TestWatchInABatch(t *testing.T) {
	s := newFakeSource()
	nc := dial(t, serve(t, Options{}, s.rows()))
	io.WriteString(nc, "["+watchCall(1, `{"backup_id":"b"}`)+","+sum1+"]")
	(<-s.begun).tell(t, record.Completed)
	in := bufio.NewReader(nc)
	for _, want := range []string{`[{"jsonrpc":"2.0","result":{"watch_id":1}`, `"state":"completed"`, `"kind":"end"`} {
		if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, want) {
			t.Errorf("%s, %v, want …%s…", line, err, want)
		}
	}
}

func TestWatchEndsWithItsConnection(t *testing.T) {
	s := newFakeSource()
	socket, stop := serveUntil(t, Options{}, s.rows())
	hangsUp, halfCloses, garbles, stays := dial(t, socket), dial(t, socket), dial(t, socket), dial(t, socket)
	var begun []*fakeWatch
	for _, nc := range []*net.UnixConn{hangsUp, halfCloses, garbles, stays} {
		io.WriteString(nc, watchCall(1, `{}`))
		begun = append(begun, <-s.begun)
	}
	hangsUp.Close() // no event is written to it that could fail
	begun[0].ends(t)
	garbles.Write([]byte("}"))
	begun[2].ends(t)
	halfCloses.CloseWrite() // it has only finished sending, as nc -N does
	time.Sleep(2 * hangUpEvery)
	begun[1].tell(t, record.Running)
	in := bufio.NewReader(halfCloses)
	for _, want := range []string{"#1", "1 state running"} {
		if line, err := in.ReadString('\n'); err != nil || shorten(t, line) != want {
			t.Errorf("%s, %v, want %s", line, err, want)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, w := range begun {
		w.ends(t)
	}
}

// TestWatcherThatNeverReads: one of two watchers never reads. It is disconnected, and the other one loses nothing.
func TestWatcherThatNeverReads(t *testing.T) {
	s := newFakeSource()
	socket := serve(t, Options{WriteTimeout: 300 * time.Millisecond}, s.rows())
	deaf := dial(t, socket)
	io.WriteString(deaf, watchCall(1, `{}`))
	deafWatch := <-s.begun
	c := client(t, socket)
	heard := make(chan int)
	go func() {
		n := 0
		for _, err := range c.Watch(context.Background(), rpc.WatchRequest{BackupID: "b"}) {
			if err != nil {
				t.Error(err)
			}
			n++
		}
		heard <- n
	}()
	goodWatch := <-s.begun
	var wg sync.WaitGroup
	wg.Go(func() {
		for deafWatch.ctx.Err() == nil {
			deafWatch.tell(t, record.Running)
		}
	})
	for range 100 {
		goodWatch.tell(t, record.Running)
	}
	deafWatch.ends(t)
	wg.Wait()
	goodWatch.tell(t, record.Completed)
	if n := <-heard; n != 101 {
		t.Errorf("got %d events, want 101", n)
	}
}

func TestManyWatchers(t *testing.T) {
	s := newFakeSource()
	socket := serve(t, Options{}, s.rows())
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			c, err := rpc.Dial(context.Background(), socket)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			var watches sync.WaitGroup
			for range 8 {
				watches.Go(func() {
					n := 0
					for _, err := range c.Watch(context.Background(), rpc.WatchRequest{BackupID: "b"}) {
						if err != nil {
							t.Error(err)
						}
						n++
					}
					if n != 3 {
						t.Errorf("%d events, want 3", n)
					}
				})
			}
			watches.Wait()
		})
	}
	for range 800 {
		w := <-s.begun
		wg.Go(func() { w.tell(t, record.Running, record.Finishing, record.Completed) })
	}
	wg.Wait()
}
