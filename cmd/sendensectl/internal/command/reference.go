package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/rpc"
)

// finds is how the first argument of a command becomes an id.
type finds func(ctx context.Context, c *rpc.Client, word string) (string, error)

// Of which kind the first argument of a command is.
var (
	// ABackup is a backup or a restore point.
	ABackup finds = func(ctx context.Context, c *rpc.Client, word string) (string, error) {
		return reference.Backup(ctx, c, word, false)
	}
	// AnActiveBackup is a backup in progress, if there is one.
	AnActiveBackup finds = func(ctx context.Context, c *rpc.Client, word string) (string, error) {
		return reference.Backup(ctx, c, word, true)
	}
	// ARestore is a restore.
	ARestore finds = reference.Restore
)

// AskAbout makes the body of a command that needs the agent, and whose first argument, if there is one, is a reference. The body gets
// the id in its place.
func (a *App) AskAbout(kind finds, f func(ctx context.Context, c *rpc.Client, args []string) error) func(*cobra.Command, []string) error {
	return a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
		args, err := a.Refer(ctx, c, kind, args)
		if err != nil {
			return err
		}
		return f(ctx, c, args)
	})
}

// Refer replaces the first argument, a reference, by the id. If they differ, it says so on the standard error.
func (a *App) Refer(ctx context.Context, c *rpc.Client, kind finds, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	id, err := kind(ctx, c, args[0])
	if err != nil {
		return nil, err
	}
	if id != args[0] {
		fmt.Fprintf(a.Stderr, "%s is %s\n", human.Safe(args[0]), human.Safe(id))
	}
	return append([]string{id}, args[1:]...), nil
}
