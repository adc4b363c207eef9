// Command sendense-agent is the daemon: it backs up whole VMs at one instant.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/agent/config"
)

// version is set by the linker: -X main.version=...
var version = "dev"

func main() {
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
		Long:          "sendense-agent backs up whole VMs at one instant, for the hub appliance. systemd runs it; sendensectl talks to it.",
		Args:          cobra.NoArgs,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(path)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg)
		},
	}
	root.PersistentFlags().StringVarP(&path, "config", "c", "/etc/sendense-agent/config.toml", "configuration file")
	root.AddCommand(&cobra.Command{
		Use:   "check-config",
		Short: "Check the configuration file and name everything that is wrong with it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := config.Load(path); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), path+": ok")
			return nil
		},
	})
	root.AddCommand(rebuildCommand(&path))
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}
