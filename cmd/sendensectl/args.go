package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// checkText refuses what JSON cannot carry: it would arrive as something else, and a VM be put on record under a name that
// nobody gave it. Names of files are not sent, and may be what they are.
func checkText(c *cobra.Command, args []string) error {
	var texts []string
	if !slices.Contains([]string{"import", "disk", "files", "man"}, c.Name()) { // these take files
		texts = args
	}
	c.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "file" && f.Name != "html" && f.Name != "socket" && f.Name != "to" {
			texts = append(texts[:len(texts):len(texts)], f.Value.String())
		}
	})
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return fmt.Errorf("%q: want UTF-8; what is the character set of this terminal?", s)
		}
	}
	return nil
}

var (
	noArgs   = wantArgs(0, 0)
	oneArg   = wantArgs(1, 1)
	maybeOne = wantArgs(0, 1)
)

// wantArgs checks how many arguments a command is given. Cobra would say "accepts 1 arg(s), received 3", which helps nobody
// who forgot the quotes around the name of a VM.
func wantArgs(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		verb := strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
		_, want, takes := strings.Cut(c.Use, " ")
		switch {
		case len(args) < least && least > 1:
			return fmt.Errorf("%s: want %s, see %s --help", verb, want, c.CommandPath())
		case len(args) < least:
			return fmt.Errorf("%s: %s is missing, see %s --help", verb, want, c.CommandPath())
		case len(args) <= most:
			return nil
		case most == 0 && !takes:
			return fmt.Errorf("%s: takes no arguments, but there is %q", verb, args[0])
		case most == 0:
			return fmt.Errorf("%s: want %s, but there is %q", verb, want, args[0])
		}
		return fmt.Errorf("%s: want %s, but there is %q too; a name with blanks in it needs quotes", verb, want, args[most])
	}
}
