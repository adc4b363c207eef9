// Package auditlog has the command "audit", which reads and verifies the audit log, and opens the log for the daemon.
package auditlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/agent/audit"
	"github.com/sendense/backup-agent/agent/config"
)

// Dir is the directory of the log.
func Dir(cfg *config.Config) string { return filepath.Join(cfg.Agent.StateDirectory, "audit") }

// Recorder opens the log for the daemon, and returns what records in it, and what closes it. A log that cannot be opened does not keep the
// daemon from starting: the journal and a metric tell of it. The Recorder is nil if there is to be no log.
func Recorder(cfg *config.Config, journal *slog.Logger, metrics prometheus.Registerer) (r *audit.Recorder, closeLog func() error, err error) {
	closeLog = func() error { return nil }
	if !cfg.Audit.Enabled {
		return nil, closeLog, nil
	}
	l, err := audit.Open(Dir(cfg), cfg.Audit.Keep.Std())
	if err != nil {
		journal.Error("requests are not recorded", "error", err)
	} else {
		closeLog = l.Close
	}
	r, err = audit.NewRecorder(l, journal, metrics)
	return r, closeLog, err
}

// Command makes "audit" with its verbs. path holds the value of --config.
func Command(path *string) *cobra.Command {
	c := &cobra.Command{
		Use: "audit", Short: "Read and verify the log of what was asked of the agent",
		Long: "The audit log has every request that changes something: who asked, what, and the answer. It lies below the state directory.\n" +
			"Each line holds the digest of the line before it. Run the commands as root, or as the user of the daemon.",
	}
	c.AddCommand(verifyCommand(path), listCommand(path))
	return c
}

func verifyCommand(path *string) *cobra.Command {
	var heads []string
	c := &cobra.Command{
		Use: "verify", Short: "Check that no line of the audit log was changed, removed, moved or cut off", Args: cobra.NoArgs,
		Long: "verify reads the whole log and checks the chain. It prints the head: the number and the digest of the last line. A person who can write\n" +
			"all files can write another chain. So keep a head elsewhere now and then: with --head, verify checks that it is part of the\n" +
			"log, and that nothing before it was changed. The journal has the head of every answer, too (AUDIT_SEQ, AUDIT_DIGEST).\n\n" +
			"It exits with 1 if the chain is broken, and names the line.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			noted := make([]audit.Head, len(heads))
			for i, text := range heads {
				h, err := audit.ParseHead(text)
				if err != nil {
					return fmt.Errorf("--head: %w", err)
				}
				noted[i] = h
			}
			cfg, err := config.Load(*path)
			if err != nil {
				return err
			}
			first, last, err := audit.Read(Dir(cfg), noted, nil)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: ok, lines %d to %d\nhead: %s\n", Dir(cfg), first.Sequence, last.Sequence, last)
			return nil
		},
	}
	c.Flags().StringArrayVar(&heads, "head", nil, "`NUMBER:DIGEST` that verify printed before; may be given several times")
	return c
}

func listCommand(path *string) *cobra.Command {
	var output string
	last := 0
	c := &cobra.Command{
		Use: "list", Short: "List the audit log, the newest entry last", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output %q: want text or json", output)
			}
			cfg, err := config.Load(*path)
			if err != nil {
				return err
			}
			var list []audit.Entry
			_, _, err = audit.Read(Dir(cfg), nil, func(e audit.Entry) error {
				if list = append(list, e); last > 0 && len(list) > 2*last {
					list = append(list[:0:0], list[len(list)-last:]...)
				}
				return nil
			})
			if last > 0 && len(list) > last {
				list = list[len(list)-last:]
			}
			return errors.Join(write(cmd.OutOrStdout(), output, list), err)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json (a line for each entry)")
	c.Flags().IntVarP(&last, "last", "n", 100, "only this many of the newest entries; 0: all")
	return c
}

func write(out io.Writer, output string, list []audit.Entry) error {
	if output == "json" {
		for _, e := range list {
			line, err := json.Marshal(e)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(out, "%s\n", line); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NUMBER\tTIME\tWHO\tWHAT\tRESULT")
	for _, e := range list {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", e.Sequence, e.Time.Local().Format(time.DateTime), who(e), what(e), result(e))
	}
	return table.Flush()
}

func who(e audit.Entry) string {
	switch {
	case e.User != "":
		return safe(e.User)
	case e.UID != nil:
		return fmt.Sprintf("uid %d", *e.UID)
	case e.From != "":
		return "HTTP " + safe(e.From)
	}
	return "-"
}

func what(e audit.Entry) string {
	switch e.Kind {
	case audit.Repaired, audit.Damaged:
		return safe(e.Message)
	case audit.Removed:
		return fmt.Sprintf("lines up to %d are removed: they are older than audit.keep", e.Of)
	case audit.Answer:
		return fmt.Sprintf("%s (%d)", e.Method, e.Of)
	}
	return safe(strings.TrimSpace(e.Method + " " + string(e.Params)))
}

func result(e audit.Entry) string {
	switch {
	case e.Kind != audit.Answer && e.Kind != audit.Refused:
		return ""
	case e.Reason == "":
		return strings.TrimSpace("ok " + safe(e.BackupID))
	}
	return e.Reason + ": " + safe(e.Message)
}

// safe is a text without what could change the state of a terminal.
func safe(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}
