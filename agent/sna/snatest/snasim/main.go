// Command snasim is an SNA with its SBCs and VMs, for demonstrations and tests:
// package snatest as a program.
//
// It serves until SIGINT or SIGTERM and then ends in order. Its first line on
// standard output is the address: "listening on http://127.0.0.1:40123".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/sendense/backup-agent/agent/sna/snatest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "snasim:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	options, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	options.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	server, err := snatest.New(options)
	if err != nil {
		return err
	}
	defer server.Close()
	if _, err := fmt.Fprintln(stdout, "listening on", server.URL); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
