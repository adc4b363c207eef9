package main

import (
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/agent/storage/process"
)

// serveRepositoryCommand runs in the unit of a repository (agent/storage/process), and nowhere else.
func serveRepositoryCommand() *cobra.Command {
	o := process.Options{}
	c := &cobra.Command{
		Use: process.Command, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM)
			defer stop()
			return process.Main(ctx, o)
		},
	}
	c.Flags().StringVar(&o.Spec, "spec", "", "the repository, as JSON")
	c.Flags().StringVar(&o.Lock, "lock", "", "file that is locked while the repository is served")
	return c
}
