package manual

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// roff writes man(7) macros, for groff and mandoc.
type roff struct {
	strings.Builder
	fresh bool // the section is empty
}

var special = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`)

// escape escapes text so that it is printed unchanged.
func escape(s string) string {
	s = special.Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

func bold(s string) string { return `\fB` + escape(s) + `\fR` }

func (p *roff) line(s string) {
	p.WriteString(s + "\n")
	p.fresh = false
}

// paragraph begins a paragraph.
func (p *roff) paragraph() {
	if !p.fresh {
		p.line(".PP")
	}
}

// title begins a page. Its date is the date of the build, or SOURCE_DATE_EPOCH.
func (p *roff) title(name string, section int, version string) {
	date := time.Now()
	if epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		date = time.Unix(epoch, 0)
	}
	p.line(fmt.Sprintf(`.TH "%s" "%d" "%s" "sendense\-agent %s" "Sendense"`,
		escape(strings.ToUpper(name)), section, date.UTC().Format(time.DateOnly), escape(version)))
	p.line(".nh")
	p.line(".ad l")
}

func (p *roff) section(name string) {
	p.line(".SH " + name)
	p.fresh = true
}

// item writes an entry of a list, such as an option.
func (p *roff) item(name, text string) {
	p.line(".TP\n" + name)
	p.line(escape(upper(text)))
}

func upper(s string) string {
	if s == "" {
		return "-"
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// list writes lines of a word, two or more blanks, and its meaning.
func (p *roff) list(lines string) {
	for line := range strings.Lines(lines) {
		word, meaning, _ := strings.Cut(strings.TrimSpace(line), "  ")
		p.item(bold(word), strings.TrimSpace(meaning))
	}
}

// text writes paragraphs. An indented paragraph is code.
func (p *roff) text(s string) {
	for paragraph := range strings.SplitSeq(strings.Trim(s, "\n"), "\n\n") {
		if paragraph == "" {
			continue
		}
		if strings.HasPrefix(paragraph, "  ") {
			p.code(paragraph)
			continue
		}
		p.paragraph()
		for line := range strings.Lines(paragraph) {
			p.line(escape(strings.TrimSpace(line)))
		}
	}
}

// code writes lines unchanged.
func (p *roff) code(lines string) {
	p.paragraph()
	p.line(".RS 2\n.EX")
	for line := range strings.Lines(strings.Trim(lines, "\n")) {
		p.line(escape(strings.TrimPrefix(strings.TrimRight(line, "\n"), "  ")))
	}
	p.line(".EE\n.RE")
}
