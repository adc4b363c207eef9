package language

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the directory of the module.
const root = "../../.."

// exempt lists files and directories whose texts are made by a measurement. An entry is a path from
// the root. It covers a file, or a directory and everything below it.
var exempt = []string{"docs/benchmarks.md"}

// allowed lists texts that are right although they have a bad word: for example a name on the wire or on the disk, or the output of another
// program. An entry is a complete string literal, or a complete line of another file without the white space around it.
var allowed = []string{}

func TestStrings(t *testing.T) {
	check(t, func(path string) bool { return strings.HasSuffix(path, ".go") }, literals)
}

func TestTexts(t *testing.T) {
	check(t, isText, lines)
}

// passage is a text that a person reads, and its line.
type passage struct {
	line int
	text string
}

// check fails the test for every bad word in the passages of the files for which read returns true.
func check(t *testing.T, read func(path string) bool, passages func(path string, content []byte) ([]passage, error)) {
	t.Helper()
	counts := map[string]int{}
	for _, path := range files(t) {
		if !read(path) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		list, err := passages(path, content)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			for _, f := range find(p.text) {
				line := p.line + strings.Count(p.text[:f.at], "\n")
				if isAllowed(p.text, f.at) {
					continue
				}
				if e := exemption(path); e != "" {
					counts[e]++
					continue
				}
				t.Errorf("%s:%d: %q: write %q", path, line, f.text, f.instead)
			}
		}
	}
	for _, e := range exempt {
		if counts[e] > 0 {
			t.Logf("%s is exempt, with %d bad words", e, counts[e])
		}
	}
}

// files lists the files of the tree, without tests, test data and build results.
func files(t *testing.T) (list []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err = filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir() && (path == ".git" || path == "bin" || path == "dist" || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.Type().IsRegular() && !strings.HasSuffix(path, "_test.go"):
			list = append(list, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 400 {
		t.Fatalf("found only %d files", len(list))
	}
	return list
}

// literals lists the string literals of a Go file that contain a space: those are read by a person.
func literals(path string, content []byte) ([]passage, error) {
	list, err := allLiterals(path, content)
	return slices.DeleteFunc(list, func(p passage) bool { return !strings.Contains(p.text, " ") }), err
}

// allLiterals lists the string literals of a Go file, without struct tags and imports. A sum of literals is one.
func allLiterals(path string, content []byte) (list []passage, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, content, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.Field:
			node.Tag = nil
		case *ast.ImportSpec:
			return false
		case *ast.BinaryExpr, *ast.BasicLit:
			expression, ok := node.(ast.Expr)
			text, all := literal(expression)
			if ok && all {
				list = append(list, passage{set.Position(node.Pos()).Line, text})
				return false
			}
		}
		return true
	})
	return list, nil
}

// literal returns the text of a string literal or of a sum of literals.
func literal(e ast.Expr) (text string, ok bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		left, ok := literal(e.X)
		right, both := literal(e.Y)
		return left + right, ok && both && e.Op == token.ADD
	}
	return "", false
}

// isText reports whether a person reads a file that has no Go code.
func isText(path string) bool {
	switch filepath.Ext(path) {
	case ".md", ".toml", ".yml", ".yaml", ".html", ".js", ".conf", ".socket", ".service", ".slice":
		return true
	case ".json":
		return path == "docs/manifest.schema.json" || strings.HasPrefix(path, "packaging/")
	}
	return path == "Makefile" || strings.HasPrefix(path, "packaging/") || strings.HasPrefix(path, ".ci/")
}

func lines(_ string, content []byte) ([]passage, error) {
	return []passage{{1, string(content)}}, nil
}

// exemption returns the entry of exempt that covers a path, or "".
func exemption(path string) string {
	for _, e := range exempt {
		if matched, _ := filepath.Match(e, path); matched || strings.HasPrefix(path, e+"/") {
			return e
		}
	}
	return ""
}

// isAllowed reports whether allowed has the text, or the line of the text at an offset.
func isAllowed(text string, at int) bool {
	start := strings.LastIndexByte(text[:at], '\n') + 1
	line, _, _ := strings.Cut(text[start:], "\n")
	for _, a := range allowed {
		if a == text || a == strings.TrimSpace(line) {
			return true
		}
	}
	return false
}

// TestFinds: a bad phrase is found in a literal, also across lines and sums, but not in a tag, a name or an import.
func TestFinds(t *testing.T) {
	const source = "package x\n\nimport _ \"a b/for good\"\n\n" +
		"type upon struct {\n\tA int `json:\"for good\"`\n}\n\n" +
		"var _ = \"the backup goes \" +\n\t\"on\"\nvar _ = `one line\nis there twice`\nvar _ = f(\"whoever\"+name, \"is\\naway\")\n"
	got := report(t, "x.go", source, literals)
	want := "9 goes on, 12 is there twice"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	got = report(t, "x.toml", "# A Backup under\n# way, and\n\ta colour.", lines)
	want = "1 under # way, 3 colour"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func report(t *testing.T, path, content string, passages func(string, []byte) ([]passage, error)) string {
	t.Helper()
	list, err := passages(path, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range list {
		for _, f := range find(p.text) {
			got = append(got, fmt.Sprint(p.line+strings.Count(p.text[:f.at], "\n"), " ", f.text))
		}
	}
	return strings.Join(got, ", ")
}

// TestWords: every bad phrase is found, no replacement is bad itself, and good English is not found.
func TestWords(t *testing.T) {
	for _, w := range words {
		for _, p := range strings.Split(w.phrases, ", ") {
			if f := find("It " + p + "."); f == nil {
				t.Errorf("%q is not found", p)
			}
		}
		if f := find(w.instead); f != nil {
			t.Errorf("%q is to be replaced by %q, which holds %q", w.phrases, w.instead, f[0].text)
		}
	}
	for _, s := range spellings {
		if f := find(s.instead); f != nil {
			t.Errorf("%q is to be spelled %q, which holds %q", s.pattern, s.instead, f[0].text)
		}
	}
	for _, bad := range []string{"colours", "Behaviour", "normalised", "Normalisation", "analyse", "licence", "datacentre", "catalogue", "labelled"} {
		if find(bad) == nil {
			t.Errorf("%q is not found", bad)
		}
	}
	for _, good := range []string{
		"the rest of the disk", "the backup was cancelled", "cancelling", "stand-alone", "look up the disks", "analysis", "basis", "otherwise",
		"it is good for a restore", "one of the levels", "the center", "realistic", "specialist", "four hours",
		"the maybe item", "go one by one", "stands_on", "good, forever", "color", "normalized", "localhost", "analyses",
	} {
		if f := find(good); f != nil {
			t.Errorf("%q is found in %q", f[0].text, good)
		}
	}
}

// TestListsAreInUse: every exempt path and every allowed text exists.
func TestListsAreInUse(t *testing.T) {
	var all strings.Builder
	paths := files(t)
	for _, path := range paths {
		content, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(content)
	}
	for _, a := range allowed {
		if !strings.Contains(all.String(), a) {
			t.Errorf("%q is allowed, but no file has it", a)
		}
	}
	covered := map[string]bool{}
	for _, path := range paths {
		covered[exemption(path)] = true
	}
	for _, e := range exempt {
		if !covered[e] {
			t.Errorf("%s is exempt, but does not exist", e)
		}
	}
}
