package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendense-agent/filereader"
)

// readFilesCommand runs in the unit of a reader of files (agent/restorefiles.go). It has no other use.
func readFilesCommand() *cobra.Command {
	o := filereader.Options{}
	c := &cobra.Command{
		Use: "read-files", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM)
			defer stop()
			return readFiles(ctx, o)
		},
	}
	c.Flags().StringVar(&o.Guestfish, "guestfish", "", "path of guestfish")
	c.Flags().StringVar(&o.Export, "export", "", "URL of the disk")
	c.Flags().StringVar(&o.Dir, "dir", "/var/tmp", "scratch directory")
	c.Flags().DurationVar(&o.Idle, "idle", time.Minute, "how long it waits for a request")
	return c
}

func readFiles(ctx context.Context, o filereader.Options) error {
	listeners, err := activation.Listeners()
	if err != nil {
		return err
	}
	if len(listeners) != 1 || listeners[0] == nil {
		return errors.New("read-files is started by the daemon, with a socket")
	}
	o.Listener = listeners[0]
	o.Ready = func() error {
		if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
			return fmt.Errorf("systemd was not notified: %w", err)
		}
		return nil
	}
	return filereader.Serve(ctx, o)
}
