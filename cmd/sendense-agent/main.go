// Command sendense-agent is the daemon: it backs up whole VMs at one instant.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/schedule"
	"github.com/sendense/backup-agent/cmd/internal/manual"
	"github.com/sendense/backup-agent/cmd/sendense-agent/auditlog"
	"github.com/sendense/backup-agent/units/spawn"
)

// version is set by the linker: -X main.version=...
var version = "dev"

const rootHelp = `sendense-agent is the backup daemon of the hub appliance: it backs up all disks of a VM at one instant. systemd runs it;
sendensectl controls it.

Exit codes:
  0  success; for the daemon: it was told to stop
  1  failure; standard error says which

Environment:
  LISTEN_FDS             sockets that systemd passes, instead of those of the configuration
  NOTIFY_SOCKET          where the daemon tells systemd that it is ready, and that it is alive
  CREDENTIALS_DIRECTORY  the passwords of vCenters and the keys, from LoadCredential=

Files:
  /etc/sendense-agent/config.toml  the configuration, see sendense-agent.toml(5)
  /var/lib/sendense-agent          the database of VMs, backups and leases
  /run/sendense-agent/agent.sock   the socket that sendensectl connects to`

func main() {
	// Before any file is opened. If the kernel does not support it, the log and the doctor say so.
	if err := spawn.Reserve(); err != nil && spawn.Supported() == nil {
		fmt.Fprintln(os.Stderr, "sendense-agent: a repository that hangs can block the start of programs:", err)
	}
	if err := command().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "sendense-agent:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var path string
	root := &cobra.Command{
		Use:           "sendense-agent",
		Short:         "Back up whole VMs at one instant",
		Long:          rootHelp,
		Args:          cobra.NoArgs,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(path)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), path, cfg)
		},
	}
	root.PersistentFlags().StringVarP(&path, "config", "c", defaultConfig, "configuration file")
	root.AddCommand(generatorCommand(&path))
	root.AddCommand(setupCommand(&path), checkConfigCommand(&path), exportSettingsCommand(&path), importSettingsCommand(&path))
	root.AddCommand(rebuildCommand(&path), doctorCommand(&path), auditlog.Command(&path), readFilesCommand(), serveRepositoryCommand(), manCommand())
	root.CompletionOptions.HiddenDefaultCmd = true
	completeArguments(root)
	return root
}

func checkConfigCommand(at *string) *cobra.Command {
	fileOnly := false
	c := &cobra.Command{
		Use:   "check-config",
		Short: "Check the configuration file and report every error in it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(*at)
			if err != nil {
				return err
			}
			var away []error
			if !fileOnly {
				away, err = repositories.Apart(cfg)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", *at, err)
			}
			if err := schedule.Check(cmd.Context(), cfg.Schedules...); err != nil {
				return fmt.Errorf("%s: %w", *at, err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), *at+": ok")
			for _, cause := range away {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: cannot be compared with the other repositories: %v\n", *at, cause)
			}
			for _, name := range cfg.WithoutDatacenter() {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: vcenter.%s.datacenter is empty, so vm discover and refresh are refused for this vCenter\n", *at, name)
			}
			if todo := outdated(*at, cfg); todo != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), *at+": "+todo)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&fileOnly, "file-only", false, "check the file only, and no directory of a repository: one may hang")
	return c
}

// completeArguments has shells offer the possible values: no command takes a file except with --config.
func completeArguments(root *cobra.Command) {
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	offer(root, "config", []string{"toml"}, cobra.ShellCompDirectiveFilterFileExt)
	for _, c := range root.Commands() {
		switch {
		case c.Name() == exportSettings:
			offer(c, "output", nil, cobra.ShellCompDirectiveDefault)
		case c.Flags().Lookup("output") != nil:
			offer(c, "output", []string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)
		}
	}
}

func offer(c *cobra.Command, flag string, words []cobra.Completion, directive cobra.ShellCompDirective) {
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, directive)); err != nil {
		panic(err) // there is no such flag
	}
}

// manCommand writes the manual pages, for packages.
func manCommand() *cobra.Command {
	book := manual.Book{Section: 8, Version: version, SeeAlso: "sendensectl(1) sendense-agent.toml(5)"}
	return book.Command(func() map[string]string {
		return map[string]string{
			"sendense-agent.toml.5": manual.ConfigPage("sendense-agent.toml", "/etc/sendense-agent/config.toml", version, config.Example()),
		}
	})
}
