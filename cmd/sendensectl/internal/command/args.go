package command

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
	NoArgs      = WantArgs(0, 0)
	OneArg      = WantArgs(1, 1)
	MaybeOneArg = WantArgs(0, 1)
)

// WantArgs checks how many arguments a command is given. Cobra would say "accepts 1 arg(s), received 3", which helps nobody
// who forgot the quotes around the name of a VM.
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
			return fmt.Errorf("%s: takes no arguments, but there is %q", verb, args[0])
		case most == 0:
			return fmt.Errorf("%s: want %s, but there is %q", verb, want, args[0])
		}
		return fmt.Errorf("%s: want %s, but there is %q too; a name with blanks in it needs quotes", verb, want, args[most])
	}
}

func CheckWord(flag, word string, words []string) error {
	if slices.Contains(words, word) {
		return nil
	}
	return fmt.Errorf("--%s %s: want %s", flag, word, either(words))
}

// either lists words as a choice.
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

func PageFlags(c *cobra.Command, limit *int, cursor *string) {
	c.Flags().IntVar(limit, "limit", 100, "most to list, 1 to 1000")
	c.Flags().StringVar(cursor, "cursor", "", "go on after an earlier list, at the `CURSOR` it ended with")
}
