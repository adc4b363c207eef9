package main

import (
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=).
var version string

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version of sendensectl; status shows that of the agent", Args: noArgs,
		RunE: a.local(func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
			}{a.version}
			return a.show(v, func(p *printer) { p.line("sendensectl %s", v.Version) })
		}),
	}
}
