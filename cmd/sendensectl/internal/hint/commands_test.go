package hint

import (
	"testing"
)

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{"pg-1.test": "pg-1.test", "": "''", "SQL Server": "'SQL Server'", "it's": `'it'\''s'`, "-x": "'-x'", "$(rm)": "'$(rm)'"} {
		if got := ShellWord(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}
