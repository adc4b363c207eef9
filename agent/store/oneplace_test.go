package store

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
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
		"BucketBackups": {
			"Adopt", "Enqueue", "Import", "ImportAll", "Prepare", // add a record
			"RemoveBackup", // removes one
			"Update",
		},
		"BucketRestores": {
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
	s := source{calls: map[string]map[string]bool{}, writes: map[string]map[string]bool{}}
	for _, f := range functions(t, ".") {
		s.read(f)
	}
	return s
}

// functions are those of a directory, without tests.
func functions(t *testing.T, directory string) (list []*ast.FuncDecl) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(directory, "*.go"))
	must(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		must(t, err)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				list = append(list, f)
			}
		}
	}
	return list
}

// TestOthersOnlyRead: the packages that ask, refuse and check write nothing.
func TestOthersOnlyRead(t *testing.T) {
	writing := []string{"Put", "Delete", "CreateBucket", "CreateBucketIfNotExists", "DeleteBucket", "SetSequence", "NextSequence", "Update", "Index"}
	for _, directory := range []string{"query", "rules", "check"} {
		list := functions(t, directory)
		if len(list) == 0 {
			t.Errorf("%s has no functions", directory)
		}
		for _, f := range list {
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if called, ok := n.(*ast.SelectorExpr); ok && slices.Contains(writing, called.Sel.Name) {
					t.Errorf("%s: %s calls %s", directory, f.Name.Name, called.Sel.Name)
				}
				return true
			})
		}
	}
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
			if on, ok := called.X.(*ast.SelectorExpr); ok && on.Sel.Name == "file" { // the file's own Update
				return true
			}
			s.calls[name][called.Sel.Name] = true
			if slices.Contains([]string{"Put", "Delete"}, called.Sel.Name) {
				s.written(name, call)
			}
		}
		return true
	})
}

// written notes the bucket that a call writes: schema.Put(t, bucket, ...) or t.Bucket(bucket).Put(...).
func (s source) written(name string, call *ast.CallExpr) {
	ast.Inspect(call, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && strings.HasPrefix(id.Name, "Bucket") {
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
