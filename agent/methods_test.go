package agent_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// maxMethods is the limit of methods of a type. A type with more does two things.
const maxMethods = 40

func TestNoTypeHasTooManyMethods(t *testing.T) {
	most := 0
	for _, p := range goList(t) {
		for name, n := range methodsOf(t, p) {
			name = strings.TrimPrefix(p.ImportPath, module) + "." + name
			if n > maxMethods {
				t.Errorf("%s has %d methods, the limit is %d: give what belongs together a type of its own", name, n, maxMethods)
			}
			most = max(most, n)
		}
	}
	if most < maxMethods/2 {
		t.Errorf("the most methods that were counted are %d: methods are not counted correctly", most)
	}
}

// methodsOf counts the methods of each type of a package: those declared with a receiver, and those of an interface.
func methodsOf(t *testing.T, p goPackage) map[string]int {
	t.Helper()
	count := map[string]int{}
	files := token.NewFileSet()
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv != nil {
					count[typeName(n.Recv.List[0].Type)]++
				}
				return false
			case *ast.TypeSpec:
				if i, ok := n.Type.(*ast.InterfaceType); ok {
					count[n.Name.Name] = i.Methods.NumFields()
				}
			}
			return true
		})
	}
	return count
}

// typeName is the name of a receiver's type: T, *T, T[P] or T[P, Q].
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
