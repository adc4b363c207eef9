package main

import (
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/internal/manual"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
)

// manCommand writes the manual pages. It is hidden: the package build uses it.
func manCommand(a *command.App) *cobra.Command {
	book := manual.Book{Section: 1, Version: a.Version, SeeAlso: "sendense-agent(8) sendense-agent.toml(5)"}
	c := book.Command(func() map[string]string { return nil })
	c.RunE = a.Local(c.RunE)
	return c
}
