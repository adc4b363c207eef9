// Package docblocks finds the code blocks of the documents, and what a test does with each. It is for tests.
//
// A block of commands is indented, or fenced as sh or console. An HTML comment directly before it says what is done with it:
//
//	<!-- run -->                 a test runs it on an appliance
//	<!-- run: exit 1 -->         the same; this is its exit code
//	<!-- run: with NAME -->      the same, in the state NAME, which the test makes before
//	<!-- package: NAME -->       make package-test runs it, under this name
//	<!-- file: PATH -->          a test writes it to the file
//	<!-- shown: REASON -->       no test runs it
//
// A block without a comment runs. A fenced block of another kind (toml, ini, yaml, text) is no command; if it has no comment, nothing is
// done with it.
//
// The package runs nothing.
package docblocks

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
)

// What is done with a block.
const (
	Run     = "run"
	Package = "package"
	File    = "file"
	Shown   = "shown"
)

// A Block is a code block of a document.
type Block struct {
	Path     string
	Line     int    // of its first line of text
	Language string // "" for an indented one
	Text     string
	Do       string // Run, Package, File or Shown; "" for a block that is no command and has no comment
	Argument string // what stands behind the colon of the comment
}

func (b Block) String() string { return fmt.Sprintf("%s:%d", b.Path, b.Line) }

// Commands reports whether the block holds commands.
func (b Block) Commands() bool {
	return b.Language == "" || b.Language == "sh" || b.Language == "console"
}

var comment = regexp.MustCompile(`^<!--\s*(run|package|file|shown)(?::\s*(.*?))?\s*-->\s*$`)

// Read returns the blocks of a document, in their order.
func Read(path string) ([]Block, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, source)
}

// Parse is Read for the text of a document.
func Parse(path string, source []byte) (list []Block, err error) {
	document := goldmark.DefaultParser().Parse(text.NewReader(source))
	err = ast.Walk(document, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		b := Block{Path: path}
		switch n := n.(type) {
		case *ast.FencedCodeBlock:
			if b.Language = string(n.Language(source)); b.Language == "" {
				b.Language = "text"
			}
		case *ast.CodeBlock:
		case *ast.HTMLBlock:
			if comment.Match(lines(n, source)) && !isCode(n.NextSibling()) {
				return ast.WalkStop, fmt.Errorf("%s: %q: no block follows", path, lines(n, source))
			}
			return ast.WalkContinue, nil
		default:
			return ast.WalkContinue, nil
		}
		b.Text = string(lines(n, source))
		if n.Lines().Len() > 0 {
			b.Line = 1 + bytes.Count(source[:n.Lines().At(0).Start], []byte("\n"))
		}
		if b.Commands() {
			b.Do = Run
		}
		if before, ok := n.PreviousSibling().(*ast.HTMLBlock); ok {
			if m := comment.FindSubmatch(bytes.TrimSpace(lines(before, source))); m != nil {
				b.Do, b.Argument = string(m[1]), string(m[2])
			}
		}
		list = append(list, b)
		return ast.WalkContinue, nil
	})
	return list, err
}

func isCode(n ast.Node) bool {
	switch n.(type) {
	case *ast.FencedCodeBlock, *ast.CodeBlock:
		return true
	}
	return false
}

// lines is the text of a node.
func lines(n ast.Node, source []byte) []byte {
	var b bytes.Buffer
	for i := range n.Lines().Len() {
		s := n.Lines().At(i)
		b.Write(s.Value(source))
	}
	if h, ok := n.(*ast.HTMLBlock); ok && h.HasClosure() {
		b.Write(h.ClosureLine.Value(source))
	}
	return b.Bytes()
}

// Comments returns every comment of a document that looks like one for a block, right or wrong.
func Comments(source string) []string {
	return regexp.MustCompile(`<!--[^>]*-->`).FindAllString(source, -1)
}

// Known reports whether a comment is one for a block.
func Known(text string) bool { return comment.MatchString(strings.TrimSpace(text)) }
