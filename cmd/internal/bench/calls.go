package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/channel"
	"github.com/creachadair/jrpc2/handler"
	jrpc2server "github.com/creachadair/jrpc2/server"
	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/hub"
	"github.com/sendense/backup-agent/cmd/internal/bench/rival"
	"github.com/sendense/backup-agent/rpc"
)

const (
	callsOfRound = 2000 // of all clients together
	floorSocket  = "rpc-floor.sock"
)

// measureCalls measures requests per second and the slowest of them, beside the library alone.
func measureCalls(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title: "Requests per second",
		Method: fmt.Sprintf("%d requests of `vm.get` from several clients at once. Each client has its own connection and sends one request at a time. Beside it, the same from a "+
			"server of the same library (jrpc2) that gives the same answer without peer credentials, method table and database.", callsOfRound),
		Head: []string{"clients", "requests/s", "library alone", "time, agent / library", "p99 ms", "library alone"},
	}
	h, err := hub.New(ctx, s.programs, filepath.Join(s.disk, "calls"))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	if err := h.PutVM(ctx, "vm", 2, rival.DiskOfStart); err != nil {
		return p, err
	}
	vm, err := h.Client.GetVM(ctx, "vm")
	if err != nil {
		return p, err
	}
	socket := filepath.Join(os.TempDir(), floorSocket)
	stop, err := serveFloor(ctx, socket, vm)
	if err != nil {
		return p, err
	}
	defer stop()
	for _, clients := range []int{1, 8, 64} {
		if err := callsOf(ctx, s, clients, socket, &p); err != nil {
			return p, err
		}
	}
	return p, nil
}

func callsOf(ctx context.Context, s settings, clients int, floor string, p *figures.Part) error {
	tail := map[string][]float64{}
	rounds := func(name, socket string) figures.Contender {
		return figures.Contender{Name: name, Run: func(ctx context.Context) (time.Duration, error) {
			took, p99, err := callMany(ctx, socket, clients)
			tail[name] = append(tail[name], figures.Milliseconds(p99))
			return took, err
		}}
	}
	t, err := figures.TakeTurns(ctx, s.rounds, []figures.Contender{rounds(ours, rpc.DefaultSocket), rounds("library", floor)})
	if err != nil {
		return err
	}
	rate := func(name string) string { return fmt.Sprintf("%.0f", callsOfRound/t.Of(name).Median*1e3) }
	p.Add(fmt.Sprint(clients), rate(ours), rate("library"), t.Ratio(ours, "library").String(),
		figures.SpreadOf(tail[ours]).String(), figures.SpreadOf(tail["library"]).String())
	return nil
}

// callMany sends the requests of a round. It returns the time of all of them, and the 99th percentile.
func callMany(ctx context.Context, socket string, clients int) (took, p99 time.Duration, err error) {
	connections := make([]*rpc.Client, clients)
	for i := range connections {
		if connections[i], err = rpc.Dial(ctx, socket); err != nil {
			return 0, 0, err
		}
		defer connections[i].Close()
	}
	waits := make([][]time.Duration, clients)
	began := time.Now()
	var group errgroup.Group
	for i, c := range connections {
		group.Go(func() error {
			for range callsOfRound / clients {
				sent := time.Now()
				if _, err := c.GetVM(ctx, "vm"); err != nil {
					return err
				}
				waits[i] = append(waits[i], time.Since(sent))
			}
			return nil
		})
	}
	err = group.Wait()
	took = time.Since(began)
	all := slices.Sorted(slices.Values(slices.Concat(waits...)))
	if len(all) > 0 {
		p99 = all[len(all)*99/100]
	}
	return took, p99, err
}

// serveFloor serves vm.get with the library alone.
func serveFloor(ctx context.Context, socket string, vm rpc.VM) (stop func(), err error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	methods := handler.Map{"vm.get": handler.New(func(context.Context, rpc.VMRef) (rpc.VM, error) { return vm, nil })}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = jrpc2server.Loop(ctx, jrpc2server.NetAccepter(l, channel.RawJSON), jrpc2server.Static(methods), &jrpc2server.LoopOptions{ServerOptions: &jrpc2.ServerOptions{}})
	}()
	return func() { cancel(); <-done }, nil
}
