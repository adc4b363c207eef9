package serving

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/rpc"
)

// DamageHelp is the paragraph about damage in the help of each restore.
const DamageHelp = `Before the restore, the agent checks the files of the restore point and of its parents, as far as that is cheap: the digest of the
manifest; size, owner, mode, header and parent of each image, and whether its file is complete; and the result of the last
verification. If a file is damaged, the restore is refused: the file is named, and the exit code is 4. With --despite-damage, it is
restored anyway, and the restored data may be wrong: the damaged files are named at the end, and the exit code is 5. If a file is
missing, or its content cannot be determined, no restore is possible.`

// DamageFlag adds the flag to restore in spite of damage.
func DamageFlag(c *cobra.Command, despite *bool) {
	c.Flags().BoolVar(despite, "despite-damage", false, "restore in spite of damage; if there is any, the exit code is 5")
}

// DamageError is the error of a restore that was done in spite of damage; nil if there was none.
func DamageError(damage []rpc.RestoreDamage) error {
	if len(damage) == 0 {
		return nil
	}
	e := &exit.Error{Code: exit.Despite, Err: fmt.Errorf("restored in spite of damage: %s damaged, and the restored data may be wrong", human.CountAre(len(damage), "file"))}
	for _, d := range damage {
		e.Lines = append(e.Lines, d.Path+": "+d.Problem)
	}
	return e
}

// Warn prints the warnings of a restore, such as damage, before it is read.
func Warn(a *command.App, r rpc.Restore) {
	for _, w := range r.Warnings {
		fmt.Fprintf(a.Stderr, "warning: %s\n", human.Safe(w))
	}
}
