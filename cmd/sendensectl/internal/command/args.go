package command

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// checkText refuses text that is not UTF-8. JSON cannot carry it: the agent would receive another name, and put the VM on
// record under that. File names are not sent, so they may hold any bytes.
func checkText(c *cobra.Command, args []string) error {
	var texts []string
	if !slices.Contains([]string{"import", "disk", "files", "man"}, c.Name()) { // their arguments are files
		texts = args
	}
	c.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "file" && f.Name != "html" && f.Name != "socket" && f.Name != "to" {
			texts = append(texts[:len(texts):len(texts)], f.Value.String())
		}
	})
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return fmt.Errorf("%q: want UTF-8; check the character set of this terminal", s)
		}
	}
	return nil
}

// How many arguments a command takes.
var (
	NoArgs      = WantArgs(0, 0)
	OneArg      = WantArgs(1, 1)
	MaybeOneArg = WantArgs(0, 1)
)

// WantArgs checks the number of arguments. The message of cobra, "accepts 1 arg(s), received 3", does not help a user who
// forgot the quotes around the name of a VM.
func WantArgs(least, most int) cobra.PositionalArgs {
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
			return fmt.Errorf("%s: takes no arguments, got %q", verb, args[0])
		case most == 0:
			return fmt.Errorf("%s: want %s, got %q", verb, want, args[0])
		}
		return fmt.Errorf("%s: want %s, got %q too; put a name with blanks in quotes", verb, want, args[most])
	}
}

// CheckWord checks the value of a flag that takes one of a few words.
func CheckWord(flag, word string, words []string) error {
	if slices.Contains(words, word) {
		return nil
	}
	return fmt.Errorf("--%s %s: want %s", flag, word, either(words))
}

// either lists words: "a, b or c".
func either(words []string) string {
	text := words[0]
	for i, word := range words[1:] {
		if i == len(words)-2 {
			text += " or " + word
		} else {
			text += ", " + word
		}
	}
	return text
}

// PageFlags adds the flags of a list that comes in pages.
func PageFlags(c *cobra.Command, limit *int, cursor *string) {
	c.Flags().IntVar(limit, "limit", 100, "list at most this many, 1 to 1000")
	c.Flags().StringVar(cursor, "cursor", "", "continue an earlier list: the `CURSOR` that it printed")
}
