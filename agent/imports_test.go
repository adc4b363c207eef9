package agent_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport is the table of ARCHITECTURE.md: what each package may import of ours, tests left out.
var mayImport = map[string][]string{
	"cmd/sendense-agent":            {"cmd/internal/manual", "agent", "agent/config", "agent/doctor", "agent/rebuild", "agent/sna", "agent/store", "agent/repository", "rpc", "rpc/files", "rpc/hub", "rpc/server", "units", "nbd"},
	"cmd/sendense-agent/reboottest": {},
	"cmd/sendense-agent/crashtest":  {},
	"cmd/sendensectl":               {"rpc", "agent/config", "cmd/internal/manual"},
	"cmd/internal/manual":           {},
	"cmd/internal/bench":            {"agent", "agent/record", "agent/config", "agent/sna/snatest", "agent/store", "nbd", "rpc", "units", "units/systemdtest"},
	"rpc":                           {},
	"rpc/internal/schema":           {"rpc"},
	"rpc/internal/translate":        {"rpc", "rpc/internal/schema", "agent", "agent/record", "agent/doctor"},
	"rpc/server":                    {"rpc", "rpc/internal/schema", "rpc/internal/translate", "agent", "agent/record", "agent/doctor"},
	"rpc/files":                     {"rpc"},
	"rpc/hub":                       {"rpc", "rpc/internal/translate", "agent", "agent/record"},
	"agent":                         {"agent/record", "agent/digest", "agent/retention", "agent/failpoint", "agent/config", "agent/rebuild", "agent/repository", "agent/sna", "agent/store", "nbd", "units"},
	"agent/record":                  {},
	"agent/digest":                  {},
	"agent/retention":               {"agent/record"},
	"agent/doctor":                  {"agent", "agent/config", "agent/rebuild", "agent/repository", "agent/sna", "agent/store", "nbd", "units"},
	"agent/failpoint":               {},
	"agent/store":                   {"agent/record", "agent/failpoint", "agent/store/check", "agent/store/query", "agent/store/rules", "agent/store/schema", "agent/store/dbfile"},
	"agent/store/check":             {"agent/record", "agent/store/rules", "agent/store/query", "agent/store/schema", "agent/store/dbfile"},
	"agent/store/rules":             {"agent/record", "agent/store/query", "agent/store/schema", "agent/store/dbfile"},
	"agent/store/query":             {"agent/record", "agent/store/schema", "agent/store/dbfile"},
	"agent/store/schema":            {"agent/record", "agent/failpoint", "agent/store/dbfile"},
	"agent/store/dbfile":            {"agent/failpoint"},
	"agent/rebuild":                 {"agent/record", "agent/repository", "agent/store", "nbd"},
	"agent/repository":              {"agent/record", "agent/digest", "agent/failpoint", "nbd"},
	"agent/config":                  {},
	"agent/sna":                     {},
	"agent/sna/snatest":             {"nbd"},
	"agent/sna/snatest/snasim":      {"agent/sna/snatest"},
	"nbd":                           {"nbd/confine"},
	"nbd/confine":                   {},
	"units":                         {"agent/failpoint"},
	"units/systemdtest":             {},
	"units/systemdtest/testbed":     {"units/systemdtest"},

	"cmd/sendense-agent/crashtest/powerloss": {},
}

func TestImports(t *testing.T) {
	const module = "github.com/sendense/backup-agent/"
	list := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	list.Dir = ".."
	out, err := list.StdoutPipe()
	must(t, err)
	must(t, list.Start())
	packages := json.NewDecoder(out)
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("package %s is not in the import table", name)
			continue
		}
		for _, imported := range p.Imports {
			if ours, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s, which the import table does not allow", name, ours)
			}
		}
	}
	must(t, list.Wait())
}
