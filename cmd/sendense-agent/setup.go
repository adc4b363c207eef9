package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/cmd/sendense-agent/setup"
	"github.com/sendense/backup-agent/rpc"
)

const setupHelp = `setup makes the first configuration, and changes it later. It asks for what no flag gives, if there is a terminal. It checks
everything before it writes anything. Then it writes the configuration and the password, restarts the daemon, runs the doctor, and puts the
VMs of the vCenter on record.

A second run changes only what differs. It shows the difference and keeps the old file. Running backups continue.

The password comes from the terminal or from a descriptor, never from an argument:
  sendense-agent setup --repository /srv/backup --vcenter vcenter.example.com --user backup@vsphere.local --datacenter DC1 \
    --password-fd 3 3</root/vcenter-password`

// setupCommand makes the configuration; path holds the value of --config.
func setupCommand(path *string) *cobra.Command {
	o := setup.Options{In: os.Stdin}
	c := &cobra.Command{
		Use:   "setup",
		Short: "Make the first configuration, or change it, and start to use it",
		Long:  setupHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if *path != defaultConfig {
				return fmt.Errorf("setup: --config %s: the packaged daemon reads %s only", *path, defaultConfig)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
			defer stop()
			o.ConfigPath, o.Out = *path, cmd.OutOrStdout()
			o.Doctor = func(ctx context.Context, out io.Writer) (int, error) {
				report := doctor.Run(ctx, doctor.Options{ConfigPath: *path, Version: version, Daemon: askDaemon})
				return report.Errors, printReport(out, report, "text")
			}
			o.Discover = discover
			return setup.Run(ctx, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Flags.RepositoryPath, "repository", "", "directory of the restore points; it is made if it does not exist")
	f.StringVar(&o.Flags.RepositoryID, "repository-id", "", "name of the repository (default: the one that is configured, or main)")
	f.StringVar(&o.Flags.Host, "vcenter", "", "host name or address of the vCenter")
	f.StringVar(&o.Flags.VCenter, "vcenter-name", "", "name of the vCenter in records (default: the one that is configured, or main)")
	f.StringVar(&o.Flags.User, "user", "", "user of the vCenter that makes the backups")
	f.IntVar(&o.PasswordFD, "password-fd", -1, "read the password of this user from the descriptor `N`; 0 is standard input")
	f.StringVar(&o.Flags.Datacenter, "datacenter", "", "datacenter whose VMs are backed up")
	f.StringVar(&o.Flags.SNA, "sna-url", "", "URL of the SNA, at this end of the tunnel (default: the one that is configured)")
	f.BoolVar(&o.DryRun, "dry-run", false, "check everything and show what would be written; write nothing")
	f.BoolVar(&o.Yes, "yes", false, "write without asking for a confirmation")
	offer(c, "repository", nil, cobra.ShellCompDirectiveFilterDirs)
	return c
}

// discover has the daemon put the VMs of a vCenter on record.
func discover(ctx context.Context, socket, vcenter string) (setup.Discovery, error) {
	d := setup.Discovery{}
	c, err := rpc.Dial(ctx, socket)
	if err != nil {
		return d, err
	}
	defer c.Close()
	found, err := c.DiscoverVMs(ctx, rpc.DiscoverRequest{VCenter: vcenter, Store: true})
	for _, vm := range found.VMs {
		if vm.Stored {
			d.Names = append(d.Names, vm.VM.VMName)
		} else {
			d.NotStored = append(d.NotStored, vm.VM.VMName+": "+vm.Error)
		}
	}
	var refused *rpc.Error
	if errors.As(err, &refused) && refused.Data.Hint != "" {
		err = fmt.Errorf("%w: %s", err, refused.Data.Hint)
	}
	return d, err
}
