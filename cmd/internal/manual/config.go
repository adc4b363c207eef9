package manual

import (
	"regexp"
	"strings"
)

// ConfigPage makes the manual page of a configuration file from its commented default. Comments become text, keys become examples. A
// key behind "#" without a blank is commented out; it is an example, too.
func ConfigPage(name, path, version, toml string) string {
	p := &roff{}
	p.title(name, 5, version)
	p.section("NAME")
	p.line(escape(name) + ` \- configuration of sendense\-agent`)
	p.section("SYNOPSIS")
	p.line(bold(path))
	p.section("DESCRIPTION")
	w := configWriter{roff: p}
	for line := range strings.Lines(toml) {
		w.add(strings.TrimSpace(line))
	}
	w.flush()
	p.section("FILES")
	p.item(bold(path), "Read by the daemon when it starts")
	p.section("SEE ALSO")
	p.line(bold("sendense-agent") + "(8), " + bold("sendensectl") + "(1), " + bold("systemd.exec") + "(5)")
	return p.String()
}

var (
	configTable = regexp.MustCompile(`^#?(\[[\[a-z].*\])$`)
	configKey   = regexp.MustCompile(`^#?([a-z_]+) = (.*)$`)
)

// configWriter collects comments and the keys below them.
type configWriter struct {
	*roff
	comment []string
	keys    [][2]string
	paged   bool // the section is not empty
}

func (w *configWriter) add(line string) {
	table, key := configTable.FindStringSubmatch(line), configKey.FindStringSubmatch(line)
	switch {
	case table != nil && !strings.HasPrefix(line, "# "):
		about := w.comment
		w.comment = nil
		w.flush()
		w.section(escape(table[1]))
		w.comment, w.paged = about, false
	case key != nil && !strings.HasPrefix(line, "# "):
		w.keys = append(w.keys, [2]string{key[1], key[2]})
	case strings.HasPrefix(line, "#"):
		if len(w.keys) > 0 {
			w.flush()
		}
		w.comment = append(w.comment, strings.TrimSpace(line[1:]))
	case line == "" && (len(w.keys) > 0 || !w.paged):
		w.flush()
	}
}

// flush writes the collected comment and keys.
func (w *configWriter) flush() {
	if len(w.comment)+len(w.keys) == 0 {
		return
	}
	w.text(strings.Join(w.comment, "\n"))
	if len(w.keys) > 0 {
		w.paragraph()
		w.line(".RS 4\n.EX")
		for _, k := range w.keys {
			w.line(bold(k[0]) + " = " + escape(k[1]))
		}
		w.line(".EE\n.RE")
	}
	w.comment, w.keys, w.paged = nil, nil, true
}
