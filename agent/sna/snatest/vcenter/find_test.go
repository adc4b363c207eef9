package vcenter

import (
	"testing"
)

// TestFindFollowsGovmomi has what was measured with find.Finder of govmomi 0.52 (docs/contract.md).
func TestFindFollowsGovmomi(t *testing.T) {
	var vms []VM
	for _, path := range []string{
		"/DC1/vm/web1", "/DC1/vm/web[1]", "/DC1/vm/db*", "/DC1/vm/dbx", `/DC1/vm/back\slash`, "/DC1/vm/a?b", "/DC1/vm/folder/inner", "/DC2/vm/only", "/DC2/vm/...",
	} {
		vms = append(vms, VM{Path: path})
	}
	for _, test := range []struct{ pattern, found, err string }{
		{"/DC1/vm/web1", "/DC1/vm/web1", ""},
		{"/DC1/vm/web[1]", "", "path '/DC1/vm/web[1]' resolves to multiple vms"},
		{`/DC1/vm/web\[1\]`, "/DC1/vm/web[1]", ""},
		{`/DC1/vm/web\[1]`, "/DC1/vm/web[1]", ""},
		{"/DC1/vm/db*", "", "path '/DC1/vm/db*' resolves to multiple vms"},
		{`/DC1/vm/db\*`, "/DC1/vm/db*", ""},
		{"/DC1/vm/a?b", "/DC1/vm/a?b", ""},
		{`/DC1/vm/a\?b`, "/DC1/vm/a?b", ""},
		{`/DC1/vm/back\slash`, `/DC1/vm/back\slash`, ""}, // as it is, not as a pattern
		{`/DC1/vm/back\\slash`, `/DC1/vm/back\slash`, ""},
		{"/DC1/vm/web[1", "", "syntax error in pattern"},
		{"/DC1/vm/nope", "", "vm '/DC1/vm/nope' not found"},
		{"/DC1/vm/folder", "", "vm '/DC1/vm/folder' not found"},
		{"/DC1/vm/*/inner", "", "cannot traverse type VirtualMachine"},
		{"/DC1/vm/f*/inner", "/DC1/vm/folder/inner", ""},
		{"/D*2/*/o*", "/DC2/vm/only", ""},
		{"/DC1/vm/inner", "", "vm '/DC1/vm/inner' not found"},
		{"/DC1/vm/folder/...", "/DC1/vm/folder/inner", ""}, // all that is below
		{"/DC2/vm/...", "", "path '/DC2/vm/...' resolves to multiple vms"},
		{`/DC2/vm/\...`, "/DC2/vm/...", ""},
		{"/DC1/vm/web1/...", "", "vm '/DC1/vm/web1/...' not found"},
		{"/DC1/vm//web1/", "/DC1/vm/web1", ""},
		{"/DC1/vm/folder/../web1", "/DC1/vm/web1", ""},
		{"/DC1/vm/..", "", "vm '/DC1/vm/..' not found"},
		{"folder/inner", "/DC1/vm/folder/inner", ""}, // relative to the folder of VMs
		{"inner", "/DC1/vm/folder/inner", ""},        // a name, wherever it is
	} {
		vm, err := find(vms, test.pattern)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if vm.Path != test.found || got != test.err {
			t.Errorf("%s: %q, %q", test.pattern, vm.Path, got)
		}
	}
}
