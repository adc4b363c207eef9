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
	"cmd/sendense-agent":            {"cmd/internal/manual", "cmd/sendense-agent/filereader", "agent", "agent/config", "agent/doctor", "agent/failpoint", "agent/rebuild", "agent/sna", "agent/store", "agent/repository", "rpc", "rpc/callbacks", "rpc/server", "units"},
	"cmd/sendense-agent/reboottest": {},
	"cmd/sendense-agent/crashtest":  {},
	"cmd/sendense-agent/filereader": {"rpc"},
	"cmd/sendensectl":               {"rpc", "agent/config", "cmd/internal/manual"},
	"cmd/internal/manual":           {},
	"cmd/internal/bench":            {"agent", "agent/record", "agent/config", "agent/sna/snatest", "agent/store", "nbd", "nbd/qemu", "rpc", "units", "units/pair", "units/systemdtest"},
	"rpc":                           {},
	"rpc/internal/schema":           {"rpc"},
	"rpc/internal/translate":        {"rpc", "rpc/internal/schema", "agent", "agent/record", "agent/doctor"},
	"rpc/server":                    {"rpc", "rpc/internal/schema", "rpc/internal/translate", "agent", "agent/record", "agent/doctor"},
	"rpc/callbacks":                 {"rpc", "rpc/internal/translate", "agent", "agent/record"},
	"agent":                         {"agent/record", "agent/digest", "agent/retention", "agent/failpoint", "agent/config", "agent/rebuild", "agent/repository", "agent/sna", "agent/store", "nbd", "nbd/qcow2", "nbd/qemu", "nbd/sockets", "units", "units/pair"},
	"agent/record":                  {},
	"agent/digest":                  {},
	"agent/retention":               {"agent/record"},
	"agent/doctor":                  {"agent", "agent/config", "agent/rebuild", "agent/repository", "agent/sna", "agent/store", "nbd", "nbd/qemu", "nbd/sockets", "units"},
	"agent/failpoint":               {},
	"agent/store":                   {"agent/record", "agent/failpoint"},
	"agent/rebuild":                 {"agent/record", "agent/repository", "agent/store", "nbd"},
	"agent/repository":              {"agent/record", "agent/digest", "agent/failpoint", "nbd", "nbd/qemu"},
	"agent/config":                  {},
	"agent/sna":                     {},
	"agent/sna/snatest":             {"nbd"},
	"agent/sna/snatest/snasim":      {"agent/sna/snatest"},
	"nbd":                           {},
	"nbd/qemu":                      {"nbd", "nbd/confine", "nbd/qcow2"},
	"nbd/qcow2":                     {},
	"nbd/confine":                   {},
	"nbd/sockets":                   {},
	"units":                         {"units/pair"},
	"units/pair":                    {},
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
