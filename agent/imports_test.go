package agent_test

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var updateImports = flag.Bool("update", false, "write the imports into ARCHITECTURE.md")

// A room is a row of the table of packages in ARCHITECTURE.md.
type room struct {
	line    int // line of the file, from 0
	names   []string
	imports []string // as the table lists them
	all     bool     // it may import everything below
}

const everythingBelow = "everything below"

var quotedName = regexp.MustCompile("`([^`]+)`")

// rooms reads the table. A package may import the packages below it; the last column lists those that it imports.
func rooms(t *testing.T, lines []string) (rows []room) {
	inside := false
	for i, line := range lines {
		if strings.HasPrefix(line, "## ") {
			inside = line == "## Packages"
		}
		cells := strings.Split(line, "|")
		if !inside || len(cells) != 5 || !strings.Contains(cells[1], "`") {
			continue
		}
		r := room{line: i, all: strings.TrimSpace(cells[3]) == everythingBelow}
		for _, m := range quotedName.FindAllStringSubmatch(cells[1], -1) {
			r.names = append(r.names, m[1])
		}
		for _, m := range quotedName.FindAllStringSubmatch(cells[3], -1) {
			r.imports = append(r.imports, m[1])
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		t.Fatal("ARCHITECTURE.md has no table of packages")
	}
	return rows
}

const module = "github.com/sendense/backup-agent/"

// A goPackage is a package of the tree, without its tests.
type goPackage struct {
	ImportPath, Dir  string
	GoFiles, Imports []string
}

func goList(t *testing.T) (list []goPackage) {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "./...")
	command.Dir = ".."
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	for packages := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// TestImports compares the table of packages in ARCHITECTURE.md with the tree. Each package has one row, imports only packages below its
// row, and the row lists its imports. Test files do not count. -update writes the last column.
func TestImports(t *testing.T) {
	text, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	rows := rooms(t, lines)
	rowOf := map[string]int{}
	for i, r := range rows {
		for _, name := range r.names {
			if _, twice := rowOf[name]; twice {
				t.Errorf("package %s has two rows", name)
			}
			rowOf[name] = i
		}
	}
	imported := make([][]string, len(rows))
	seen := map[string]bool{}
	for _, p := range goList(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		row, known := rowOf[name]
		if !known {
			t.Errorf("package %s has no row in ARCHITECTURE.md", name)
			continue
		}
		seen[name] = true
		for _, path := range p.Imports {
			ours, ok := strings.CutPrefix(path, module)
			if !ok || slices.Contains(rows[row].names, ours) {
				continue
			}
			if below, known := rowOf[ours]; known && below <= row {
				t.Errorf("%s imports %s, which stands above it", name, ours)
			}
			if !slices.Contains(imported[row], ours) {
				imported[row] = append(imported[row], ours)
			}
		}
	}
	for name := range rowOf {
		if !seen[name] {
			t.Errorf("ARCHITECTURE.md has a row of %s, which is no package", name)
		}
	}
	for i, r := range rows {
		slices.SortFunc(imported[i], func(x, y string) int { return rowOf[x] - rowOf[y] })
		switch {
		case r.all || slices.Equal(slices.Sorted(slices.Values(r.imports)), slices.Sorted(slices.Values(imported[i]))):
		case *updateImports:
			cells := strings.Split(lines[r.line], "|")
			cells[3] = " - "
			if len(imported[i]) > 0 {
				cells[3] = " `" + strings.Join(imported[i], "`, `") + "` "
			}
			lines[r.line] = strings.Join(cells, "|")
		default:
			t.Errorf("%s imports %q, ARCHITECTURE.md says %q: correct the table, or run this test with -update", strings.Join(r.names, ", "), imported[i], r.imports)
		}
	}
	if *updateImports && !t.Failed() {
		if err := os.WriteFile("../ARCHITECTURE.md", []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
