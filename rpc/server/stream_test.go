package server

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

const sum1 = `{"jsonrpc":"2.0","method":"sum","params":[1],"id":1}`

func TestStreamOfValues(t *testing.T) {
	socket := serve(t, Options{}, specTable())
	pretty := "{\n  \"jsonrpc\": \"2.0\",\r\n\t\"method\": \"sum\",\n  \"params\": [\n    1\n  ],\n  \"id\": 1\n}\n"
	for name, input := range map[string]string{
		"newlines":                 sum1 + "\n" + sum1 + "\n" + sum1 + "\n",
		"concatenated":             sum1 + sum1 + sum1,
		"spaces":                   "  " + sum1 + "\t" + sum1 + " \n\n\r\n " + sum1 + "   ",
		"pretty":                   pretty + pretty + pretty,
		"after a number":           sum1 + "1 " + sum1,
		"notifications between":    sum1 + `{"jsonrpc":"2.0","method":"update"}` + sum1 + sum1,
		"without the last newline": sum1 + "\n" + sum1 + "\n" + sum1,
	} {
		t.Run(name, func(t *testing.T) {
			if got := lines(t, converse(t, socket, input)); len(got) != 3 {
				t.Errorf("%d answers, want 3: %v", len(got), got)
			}
		})
	}
}

func TestAnswersWithoutHalfClose(t *testing.T) {
	socket := serve(t, Options{}, specTable())
	nc := dial(t, socket)
	in := bufio.NewReader(nc)
	for range 3 {
		io.WriteString(nc, sum1) // no newline: an object ends by itself
		line, err := in.ReadString('\n')
		if err != nil || reason(t, line) != "" {
			t.Fatalf("%q, %v", line, err)
		}
	}
}

func TestSyntaxErrorIsAnsweredAtOnceAndCloses(t *testing.T) {
	socket := serve(t, Options{}, specTable())
	nc := dial(t, socket)
	io.WriteString(nc, sum1+"nonsense"+sum1)
	out, err := io.ReadAll(nc) // ends although nothing was half-closed
	if err != nil {
		t.Fatal(err)
	}
	got := lines(t, string(out))
	if len(got) != 2 {
		t.Fatalf("%d answers, want that of the request before and the parse error: %s", len(got), out)
	}
}

func TestMessageSize(t *testing.T) {
	const limit = 4096
	socket := serve(t, Options{MaxMessageBytes: limit}, specTable())
	sized := func(n int) string {
		const frame = `{"jsonrpc":"2.0","method":"echo","params":[""],"id":1}`
		return strings.Replace(frame, `""`, `"`+strings.Repeat("x", n-len(frame))+`"`, 1)
	}
	for n, want := range map[int]rpc.Reason{
		limit - 1: "", limit: "", limit + 1: rpc.ReasonMessageTooLarge, 100 * limit: rpc.ReasonMessageTooLarge,
	} {
		if got := reason(t, converse(t, socket, "\n \n"+sized(n))); got != want {
			t.Errorf("%d bytes: %q, want %q", n, got, want)
		}
	}
	// The limit is for one message, and white space does not count.
	out := converse(t, socket, strings.Repeat(sized(limit)+strings.Repeat("\n", 3*limit), 5))
	if got := lines(t, out); len(got) != 5 {
		t.Errorf("%d answers, want 5", len(got))
	}
}

func TestTooLargeMessageOfManyMegabytes(t *testing.T) {
	socket := serve(t, Options{}, specTable())
	out := converse(t, socket, `{"jsonrpc":"2.0","method":"`+strings.Repeat("x", 20<<20))
	if got := reason(t, out); got != rpc.ReasonMessageTooLarge {
		t.Errorf("got %q", got)
	}
}

func TestDepth(t *testing.T) {
	socket := serve(t, Options{}, specTable())
	nested := func(n int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":"echo","params":%s%s,"id":1}`, strings.Repeat("[", n), strings.Repeat("]", n))
	}
	for n, want := range map[int]rpc.Reason{maxDepth - 1: "", maxDepth: rpc.ReasonMalformedMessage, 9000: rpc.ReasonMalformedMessage} {
		if got := reason(t, converse(t, socket, nested(n))); got != want {
			t.Errorf("%d deep: %q, want %q", n, got, want)
		}
	}
	if got := reason(t, converse(t, socket, strings.Repeat("[", 500000))); got != rpc.ReasonParseError {
		t.Errorf("half a million open brackets: %q", got)
	}
	if got := reason(t, converse(t, socket, `{"jsonrpc":"2.0","method":"echo","params":["`+strings.Repeat(`[{\"`, 200)+`"],"id":1}`)); got != "" {
		t.Errorf("brackets in a text: %q", got)
	}
}

func TestDribblingClientIsCutAndHoldsNobody(t *testing.T) {
	socket := serve(t, Options{MessageTimeout: 300 * time.Millisecond}, specTable())
	slow := dial(t, socket)
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for _, b := range []byte(sum1) {
			select {
			case <-time.After(50 * time.Millisecond):
				slow.Write([]byte{b})
			case <-stop:
				return
			}
		}
	}()
	if got := reason(t, converse(t, socket, sum1)); got != "" {
		t.Errorf("another client, meanwhile: %q", got)
	}
	line, err := bufio.NewReader(slow).ReadString('\n')
	if err != nil || reason(t, line) != rpc.ReasonMessageTimeout {
		t.Errorf("%q, %v", line, err)
	}
	close(stop)
	<-stopped
}

func TestIdleConnectionIsKept(t *testing.T) {
	socket := serve(t, Options{MessageTimeout: 50 * time.Millisecond}, specTable())
	nc := dial(t, socket)
	in := bufio.NewReader(nc)
	for range 3 {
		time.Sleep(120 * time.Millisecond)
		io.WriteString(nc, "\n")
		time.Sleep(120 * time.Millisecond)
		io.WriteString(nc, sum1)
		if line, err := in.ReadString('\n'); err != nil || reason(t, line) != "" {
			t.Fatalf("%q, %v", line, err)
		}
	}
}

func TestClientThatDoesNotReadIsCut(t *testing.T) {
	socket := serve(t, Options{WriteTimeout: 200 * time.Millisecond}, specTable())
	nc := dial(t, socket)
	request := `{"jsonrpc":"2.0","method":"echo","params":["` + strings.Repeat("x", 500_000) + `"],"id":1}`
	var err error
	for range 100 {
		if _, err = io.WriteString(nc, request); err != nil {
			break
		}
	}
	if err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("writing ended with %v, want the connection cut by the server", err)
	}
	if got := reason(t, converse(t, socket, sum1)); got != "" {
		t.Errorf("another client: %q", got)
	}
}

func FuzzStream(f *testing.F) {
	for _, tt := range append(specExamples, beyondExamples...) {
		f.Add([]byte(tt.send))
	}
	f.Add([]byte(sum1 + sum1 + "\n" + sum1 + "}"))
	f.Add([]byte(strings.Repeat("[", 300)))
	f.Add([]byte("{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"params\":{\"a\":\"\\ud800\"},\"id\":\"\\ud800\"}"))
	socket := serve(f, Options{MaxMessageBytes: 8192}, specTable())
	f.Fuzz(func(t *testing.T, garbage []byte) {
		// A valid request before the garbage gets one answer, whatever follows.
		out := converse(t, socket, `{"jsonrpc":"2.0","method":"sum","params":[40,2],"id":"the good one"}`+"\n"+string(garbage))
		good := 0
		for line := range strings.Lines(out) {
			if !json.Valid([]byte(line)) {
				t.Fatalf("not JSON: %q", line)
			}
			if line == `{"jsonrpc":"2.0","result":42,"id":"the good one"}`+"\n" {
				good++
			}
		}
		if good == 0 || good > 1 && !strings.Contains(string(garbage), "good one") {
			t.Fatalf("%d answers to the good request: %q", good, out)
		}
	})
}
