package serving

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/rpc"
)

// DamageHelp is what every way to a restore says of damage.
const DamageHelp = `Before anything is read, every file of the restore point, and of what it stands on, is compared in what costs nothing to compare:
the manifest's own digest; of each image the size, owner, mode, header, what it stands on, and whether the file is as long as
what is in it; and what a verification has found. What is damaged is refused, with the name of the file and exit code 4. With
--despite-damage what is left is restored all the same: at the end the damaged files are named, and the exit code is 5. A file that
is missing, or of which nobody knows what would be read, cannot be restored in any way.`

// DamageFlag is the flag that asks for what is left.
func DamageFlag(c *cobra.Command, despite *bool) {
	c.Flags().BoolVar(despite, "despite-damage", false, "restore what is left of what is damaged; the exit code is then 5, never 0")
}

// DamageError is the error for a restore that reads what is damaged, when all that can be done is done; nil for any other.
func DamageError(damage []rpc.RestoreDamage) error {
	if len(damage) == 0 {
		return nil
	}
	e := &exit.Error{Code: exit.Despite, Err: fmt.Errorf("done in spite of damage: %s damaged, and what was restored may be wrong", human.CountAre(len(damage), "file"))}
	for _, d := range damage {
		e.Lines = append(e.Lines, d.Path+": "+d.Problem)
	}
	return e
}

// Warn tells of the damage of what is about to be read.
func Warn(a *command.App, r rpc.Restore) {
	for _, w := range r.Warnings {
		fmt.Fprintf(a.Stderr, "warning: %s\n", human.Safe(w))
	}
}
