package rpc_test

import (
	"net"
	"os"
	"path/filepath"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/channel"
	"github.com/creachadair/jrpc2/handler"
)

// fakeAgent answers calls with the given methods until it is closed. It uses another library than the agent.
func fakeAgent(methods handler.Map) (socket string, stop func()) {
	dir, err := os.MkdirTemp("", "fake-agent")
	if err != nil {
		panic(err)
	}
	socket = filepath.Join(dir, "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		panic(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s := jrpc2.NewServer(methods, nil).Start(channel.Line(nc, nc))
			defer s.Wait()
			defer s.Stop()
		}
	}()
	return socket, func() {
		l.Close()
		<-done
		os.RemoveAll(dir)
	}
}
