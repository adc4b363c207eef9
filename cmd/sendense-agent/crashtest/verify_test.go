package crashtest_test

import (
	"context"
	"fmt"

	"github.com/sendense/backup-agent/rpc"
)

// verifyNewest reads the newest restore point whole, and wants what the daemon says of it to be on record.
func verifyNewest(ctx context.Context, c *crash) error {
	list, err := c.backups(ctx, c.vm)
	if err != nil {
		return err
	}
	return answered(c.with(ctx, func(client *rpc.Client) error {
		report, err := client.VerifyBackup(ctx, rpc.VerifyRequest{BackupID: list[0].BackupID, Deep: true}, nil)
		if err != nil {
			return err
		}
		b, err := client.GetBackup(ctx, list[0].BackupID)
		if err == nil && (report.Result != rpc.VerifyOK || b.Verified == nil || b.Verified.DeepAt.IsZero()) {
			err = fmt.Errorf("verified: %+v, on record: %+v", report, b.Verified)
		}
		return err
	}))
}
