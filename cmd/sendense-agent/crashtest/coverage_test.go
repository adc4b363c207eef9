package crashtest_test

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sendense/backup-agent/agent/record"
)

// coverage is the set of points at which a daemon was killed.
type coverage struct {
	mu      sync.Mutex
	claimed map[string]bool
	points  map[string]bool
}

// choose says at which of the points, NAME:N, that an operation reached the daemon is killed. To cover, each NAME is
// claimed by the first operation that reaches it.
func (k *coverage) choose(op operation, reached []string) (chosen []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.claimed == nil {
		k.claimed = map[string]bool{}
	}
	begun, over := op.from == "", false
	for _, point := range reached {
		name := nameOf(point)
		begun = begun || name == op.from
		over = over || name == op.to
		if op.alone && name != op.from {
			continue
		}
		first := strings.HasSuffix(point, ":1")
		switch *extent {
		case "sample":
			first = first && strings.HasPrefix(name, "committed ")
		case "points":
			first = first && begun && !over
		case "cover":
			first = first && !k.claimed[name]
		default:
			first = true
		}
		if first {
			k.claimed[name] = true
			chosen = append(chosen, point)
		}
	}
	return chosen
}

func (k *coverage) add(point string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.points == nil {
		k.points = map[string]bool{}
	}
	k.points[nameOf(point)] = true
}

func nameOf(point string) string { return point[:strings.LastIndexByte(point, ':')] }

// filtered says whether only some of the operations were asked for.
func filtered() bool {
	run := flag.Lookup("test.run").Value.String()
	return strings.Contains(run, "/")
}

// check fails the test when there is a point in the source at which no operation was killed.
func (k *coverage) check(t *testing.T) {
	t.Helper()
	for _, p := range sourcePoints(t) {
		hit := k.points[p.name]
		for name := range k.points {
			hit = hit || p.prefix && strings.HasPrefix(name, p.name)
		}
		if !hit {
			t.Errorf("%s: no operation was killed at %q", p.at, p.name)
		}
	}
	for _, name := range slices.Concat(committed(), reconciled(t)) {
		if !k.points[name] {
			t.Errorf("no operation was killed at %q", name)
		}
	}
}

// committed lists the points about the states that a backup or a restore changes to.
func committed() (names []string) {
	for _, s := range record.States {
		if s != record.Queued { // a backup is made in that state
			names = append(names, "committing "+string(s), "committed "+string(s))
		}
	}
	for _, s := range record.RestoreStates {
		if s != record.RestorePreparing {
			names = append(names, "committing restore "+string(s), "committed restore "+string(s))
		}
	}
	return names
}

// reconciled lists the points about the steps of a plan: its actions, and the fates of active backups, which are actions too.
func reconciled(t *testing.T) (names []string) {
	t.Helper()
	actions := append(constants(t, "../../../agent/reconcile/plan.go", "action"), constants(t, "../../../agent/record/fate.go", "Fate")...)
	for _, action := range actions {
		if action != "leave unit" { // it does nothing
			names = append(names, "reconcile: before "+action, "reconcile: after "+action)
		}
	}
	return names
}

// constants lists the values of the constants that a file declares with a type.
func constants(t *testing.T, path, kind string) (values []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	must(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); ok && name.Name == kind {
			value, _ := pointName(t, spec.Values[0])
			values = append(values, value)
		}
		return true
	})
	if len(values) == 0 {
		t.Errorf("%s has no constants of type %s", path, kind)
	}
	return values
}

// A sourcePoint is a call of failpoint.Reach in the source, or of the function that package units is given for it (units.Options.Reached). Where its name is put together, the beginning of it is known.
type sourcePoint struct {
	at     token.Position
	name   string
	prefix bool
}

func sourcePoints(t *testing.T) (points []sourcePoint) {
	t.Helper()
	files := token.NewFileSet()
	must(t, filepath.WalkDir("../../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && isReach(call) {
				name, prefix := pointName(t, call.Args[0])
				points = append(points, sourcePoint{files.Position(call.Pos()), name, prefix})
			}
			return true
		})
		return nil
	}))
	for _, prefix := range []string{"committed ", "unit: "} {
		if !slices.ContainsFunc(points, func(p sourcePoint) bool { return strings.HasPrefix(p.name, prefix) }) {
			t.Errorf("there is no failpoint %q in the source", prefix)
		}
	}
	return points
}

func isReach(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) != 1 {
		return false
	}
	in, ok := f.X.(*ast.Ident)
	return ok && (in.Name == "failpoint" && f.Sel.Name == "Reach" || in.Name == "m" && f.Sel.Name == "reached")
}

func pointName(t *testing.T, e ast.Expr) (name string, prefix bool) {
	t.Helper()
	if sum, ok := e.(*ast.BinaryExpr); ok {
		e, prefix = sum.X, true
	}
	literal, ok := e.(*ast.BasicLit)
	if !ok {
		t.Fatalf("the name of a failpoint does not begin with a string: %#v", e)
	}
	name, err := strconv.Unquote(literal.Value)
	must(t, err)
	return name, prefix
}
