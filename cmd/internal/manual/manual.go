// Package manual writes the manual pages of a program from the definitions of its commands, as cobra writes the help.
package manual

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A Book is the pages of one program.
type Book struct {
	Section int    // of the manual
	Version string // of the program
	SeeAlso string // pages of other programs, such as "sendensectl(1)"
}

// Command makes the hidden command "man DIR", which writes the pages of the whole program. further returns more pages, by file
// name.
func (b Book) Command(further func() map[string]string) *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			pages := b.Pages(c.Root())
			for name, text := range further() {
				pages[name] = text
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			for name, text := range pages {
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// Pages are the pages of a program and of all its commands that are not hidden, by file name.
func (b Book) Pages(root *cobra.Command) map[string]string {
	root.InitDefaultHelpFlag()
	pages := map[string]string{}
	exit, _ := sections(root)["EXIT STATUS"]
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		pages[fmt.Sprintf("%s.%d", dashed(c), b.Section)] = b.page(c, exit)
		for _, child := range c.Commands() {
			if child.IsAvailableCommand() {
				walk(child)
			}
		}
	}
	walk(root)
	return pages
}

func dashed(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func (b Book) page(c *cobra.Command, exit string) string {
	c.InitDefaultHelpFlag()
	p := &roff{}
	p.title(dashed(c), b.Section, b.Version)
	p.section("NAME")
	p.line(escape(dashed(c)) + ` \- ` + escape(c.Short))
	p.section("SYNOPSIS")
	p.line(bold(c.CommandPath()) + escape(strings.TrimPrefix(c.UseLine(), c.CommandPath())))
	own := sections(c)
	p.section("DESCRIPTION")
	p.text(own[""])
	b.commands(p, c)
	options(p, "OPTIONS", c.NonInheritedFlags())
	options(p, "COMMON OPTIONS", c.InheritedFlags())
	if exit != "" {
		p.section("EXIT STATUS")
		p.list(exit)
	}
	for _, name := range []string{"ENVIRONMENT", "FILES"} {
		if own[name] != "" {
			p.section(name)
			p.list(own[name])
		}
	}
	if c.Example != "" {
		p.section("EXAMPLES")
		p.code(c.Example)
	}
	p.section("SEE ALSO")
	p.line(b.seeAlso(c))
	return p.String()
}

// headings are the paragraphs of a help that become sections of the manual. Such a paragraph is a heading and indented lines: a word,
// two or more blanks, and its meaning.
var headings = map[string]string{"Exit codes:": "EXIT STATUS", "Environment:": "ENVIRONMENT", "Files:": "FILES"}

// sections splits a help into its sections; "" is the description.
func sections(c *cobra.Command) map[string]string {
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	parts := map[string]string{}
	for _, paragraph := range strings.Split(text, "\n\n") {
		head, body, _ := strings.Cut(paragraph, "\n")
		if name, ok := headings[head]; ok {
			parts[name] = body
		} else {
			parts[""] += paragraph + "\n\n"
		}
	}
	return parts
}

func (b Book) commands(p *roff, c *cobra.Command) {
	first := true
	for _, child := range c.Commands() {
		if !child.IsAvailableCommand() {
			continue
		}
		if first {
			p.section("COMMANDS")
			first = false
		}
		p.item(bold(child.Name())+` (\fB`+escape(dashed(child))+fmt.Sprintf(`\fR(%d))`, b.Section), child.Short)
	}
}

func options(p *roff, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	p.section(title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := bold("--" + f.Name)
		if f.Shorthand != "" {
			name = bold("-"+f.Shorthand) + ", " + name
		}
		if value != "" {
			name += ` \fI` + escape(value) + `\fR`
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" {
			usage += " (default " + f.DefValue + ")"
		}
		p.item(name, usage)
	})
}

func (b Book) seeAlso(c *cobra.Command) string {
	var pages []string
	if c.HasParent() {
		pages = append(pages, reference(dashed(c.Parent()), b.Section))
	}
	if c.HasParent() && c.Parent().HasParent() {
		pages = append(pages, reference(dashed(c.Root()), b.Section))
	}
	for _, other := range strings.Fields(b.SeeAlso) {
		name, section, _ := strings.Cut(strings.TrimSuffix(other, ")"), "(")
		pages = append(pages, bold(name)+"("+section+")")
	}
	return strings.Join(pages, ", ")
}

func reference(name string, section int) string { return bold(name) + fmt.Sprintf("(%d)", section) }
