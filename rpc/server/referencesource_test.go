package server

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// wire is what the source of package rpc says about its types.
type wire struct {
	types   map[string]string   // comment, by type
	fields  map[string]string   // comment, by "Type.field" as the wire has it, and by reason
	order   map[string][]string // fields, by type
	names   map[string]string   // of fields and constants: the name on the wire, by the name in Go
	reasons []string            // in the order of the source
}

func (w wire) about(name string) string {
	text := w.types[name]
	if text == "" {
		return "See the fields."
	}
	return text
}

func parseWire(t *testing.T) wire {
	t.Helper()
	w := wire{types: map[string]string{}, fields: map[string]string{}, order: map[string][]string{}, names: map[string]string{}}
	files, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if d, ok := d.(*ast.GenDecl); ok {
				w.take(d)
			}
		}
	}
	for _, texts := range []map[string]string{w.types, w.fields} {
		for k, text := range texts {
			texts[k] = goName.ReplaceAllStringFunc(text, func(name string) string {
				if wired, ok := w.names[name]; ok && name != k {
					return "`" + wired + "`"
				}
				return name
			})
		}
	}
	if len(w.reasons) < 20 || len(w.types) < 20 {
		t.Fatalf("found only %d reasons and %d types", len(w.reasons), len(w.types))
	}
	return w
}

func (w *wire) take(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			w.types[spec.Name.Name] = said(d.Doc)
			if s, ok := spec.Type.(*ast.StructType); ok {
				w.takeFields(spec.Name.Name, s)
			}
		case *ast.ValueSpec:
			w.takeConstant(spec)
		}
	}
}

// goName is a name in Go of at least two words. It means nothing to a reader of the reference.
var goName = regexp.MustCompile(`\b[A-Z]+[a-z]+[A-Z][A-Za-z]*\b`)

func (w *wire) takeConstant(spec *ast.ValueSpec) {
	if len(spec.Values) != 1 {
		return
	}
	lit, ok := spec.Values[0].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return
	}
	value, _ := strconv.Unquote(lit.Value)
	w.names[spec.Names[0].Name] = value
	if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Reason" {
		w.reasons = append(w.reasons, value)
		w.fields[value] = said(spec.Comment)
	}
}

var jsonTag = regexp.MustCompile(`json:"([a-z0-9_]+)`)

func (w *wire) takeFields(name string, s *ast.StructType) {
	for _, f := range s.Fields.List {
		if f.Tag == nil {
			continue
		}
		tag := jsonTag.FindStringSubmatch(f.Tag.Value)
		if tag == nil {
			continue
		}
		w.order[name] = append(w.order[name], tag[1])
		w.names[f.Names[0].Name] = tag[1]
		doc := said(f.Doc)
		if rest, ok := strings.CutPrefix(doc, f.Names[0].Name+" "); ok { // "Files starts" is "`files` starts" on the wire
			doc = "`" + tag[1] + "` " + rest
		}
		w.fields[name+"."+tag[1]] = strings.TrimSpace(doc + " " + said(f.Comment))
	}
}

var docLink = regexp.MustCompile(`\[([A-Za-z.]+)\]`)

// said is a comment as one line of Markdown.
func said(c *ast.CommentGroup) string {
	text := strings.Join(strings.Fields(c.Text()), " ")
	return strings.ReplaceAll(docLink.ReplaceAllString(text, "$1"), "|", `\|`)
}

// typeName is a schema in words.
func typeName(schema any) string {
	s, ok := schema.(map[string]any)
	if !ok {
		return "any"
	}
	if ref, ok := s["$ref"].(string); ok {
		name := ref[strings.LastIndexByte(ref, '/')+1:]
		return "[" + name + "](#" + anchor(name) + ")"
	}
	if words, ok := s["enum"].([]string); ok {
		return "`" + strings.Join(words, "`, `") + "`"
	}
	switch s["type"] {
	case "array":
		return "list of " + typeName(s["items"])
	case "object":
		return "map to " + typeName(s["additionalProperties"])
	}
	if s["format"] == "date-time" {
		return "time, RFC 3339"
	}
	return s["type"].(string)
}

// anchor is how a heading is linked to.
func anchor(heading string) string {
	return strings.ReplaceAll(strings.ToLower(heading), ".", "")
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
