package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

// cancelFlags say what of a restore point "backup cancel" stops.
type cancelFlags struct{ merge, verify bool }

func (f *cancelFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.merge, "merge", false, "stop the merge of a restore point, which stays as it is")
	c.Flags().BoolVar(&f.verify, "verify", false, "stop the verification of a restore point")
	c.MarkFlagsMutuallyExclusive("merge", "verify")
}

// cancel without a flag stops what is in progress: the backup, or else the merge or the verification.
func (f *cancelFlags) cancel(ctx context.Context, c *rpc.Client, id string) (rpc.Backup, error) {
	switch {
	case f.merge:
		return c.CancelMerge(ctx, id)
	case f.verify:
		return c.CancelVerify(ctx, id)
	}
	return c.CancelBackup(ctx, id)
}
