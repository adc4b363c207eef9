package store

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOnePlace: the exported functions that write the records of backups and restores are these. Whoever adds one that changes a record
// that exists, beside Update and UpdateRestore, has the agent change records without an event.
func TestOnePlace(t *testing.T) {
	code := readCode(t)
	for bucket, want := range map[string][]string{
		"bucketBackups": {
			"Adopt", "Enqueue", "Import", "Prepare", // add a record
			"RemoveBackup", // removes one
			"Update",
		},
		"bucketRestores": {
			"PrepareRestore", // adds a record, and forgets the oldest
			"UpdateRestore",
		},
	} {
		if diff := cmp.Diff(want, code.exported(bucket)); diff != "" {
			t.Errorf("who writes %s: %s", bucket, diff)
		}
	}
}

// A source is the functions of this package: by name, whom each calls, and which buckets it writes.
type source struct {
	calls  map[string]map[string]bool
	writes map[string]map[string]bool
}

func readCode(t *testing.T) source {
	t.Helper()
	packages, err := parser.ParseDir(token.NewFileSet(), ".", func(f fs.FileInfo) bool {
		return !strings.HasSuffix(f.Name(), "_test.go")
	}, 0)
	must(t, err)
	s := source{calls: map[string]map[string]bool{}, writes: map[string]map[string]bool{}}
	for _, file := range packages["store"].Files {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil && !strings.HasPrefix(f.Name.Name, "migrate") {
				s.read(f)
			}
		}
	}
	return s
}

func (s source) read(f *ast.FuncDecl) {
	name := f.Name.Name
	if s.calls[name] == nil {
		s.calls[name], s.writes[name] = map[string]bool{}, map[string]bool{}
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch called := call.Fun.(type) {
		case *ast.Ident:
			s.calls[name][called.Name] = true
		case *ast.SelectorExpr:
			if on, ok := called.X.(*ast.Ident); ok && on.Name == "db" { // bbolt's own
				return true
			}
			s.calls[name][called.Sel.Name] = true
			if slices.Contains([]string{"put", "Put", "Delete"}, called.Sel.Name) {
				s.written(name, call)
			}
		}
		return true
	})
}

// written notes the bucket that a call writes: t.put(bucket, ...) or t.Bucket(bucket).Put(...).
func (s source) written(name string, call *ast.CallExpr) {
	ast.Inspect(call, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && strings.HasPrefix(id.Name, "bucket") {
			s.writes[name][id.Name] = true
		}
		return true
	})
}

// exported are the exported functions that write a bucket, by themselves or by what they call.
func (s source) exported(bucket string) []string {
	writers := map[string]bool{}
	for name, buckets := range s.writes {
		if buckets[bucket] {
			writers[name] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for name, calls := range s.calls {
			for called := range calls {
				if writers[called] && !writers[name] {
					writers[name], grown = true, true
				}
			}
		}
	}
	return slices.Sorted(func(yield func(string) bool) {
		for name := range maps.Keys(writers) {
			if ast.IsExported(name) && !yield(name) {
				return
			}
		}
	})
}
