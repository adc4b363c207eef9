// Testbed runs one command inside a fresh machine whose PID 1 is a real systemd.
//
//	go run ./units/systemdtest/testbed [--bind DIR]... [--root DIR] [--full] [--host-network] -- COMMAND [ARGUMENT...]
//
// The command sees the caller's files. What it changes outside the module's source tree, the working
// directory and the bound directories is lost when it ends. The exit status is the command's. It needs
// root.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/units/systemdtest"
)

func main() {
	var options systemdtest.Options
	flag.Func("bind", "share this directory of the host, writable, at the same path (repeatable)", func(dir string) error {
		abs, err := filepath.Abs(dir)
		options.Binds = append(options.Binds, abs)
		return err
	})
	flag.Func("root", "use the files in this directory instead of those in /", func(dir string) (err error) {
		options.Root, err = filepath.Abs(dir)
		return err
	})
	flag.BoolVar(&options.FullBoot, "full", false, "boot multi-user.target with the distribution's units (takes seconds)")
	flag.BoolVar(&options.HostNetwork, "host-network", false, "keep the caller's network instead of a private loopback")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: testbed [flags] -- COMMAND [ARGUMENT...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	code, err := systemdtest.Run(context.Background(), options, flag.Args()...)
	if err != nil {
		fmt.Fprintf(os.Stderr, "testbed: %v\n", err)
	}
	os.Exit(code)
}
