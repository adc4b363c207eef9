package docblocks

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	const page = `# Title

Text:

    one
    two # why

<!-- run: exit 1 -->

    three

1. In a list:

   <!-- file: /etc/x -->
   ` + "```toml" + `
   a = 1
   ` + "```" + `

       four

<!-- shown: no kernel here -->
` + "```sh" + `
five
` + "```" + `

` + "```" + `
a picture
` + "```" + `
`
	got, err := Parse("p.md", []byte(page))
	want := []Block{
		{"p.md", 5, "", "one\ntwo # why\n", Run, ""},
		{"p.md", 10, "", "three\n", Run, "exit 1"},
		{"p.md", 16, "toml", "a = 1\n", File, "/etc/x"},
		{"p.md", 19, "", "four\n", Run, ""},
		{"p.md", 23, "sh", "five\n", Shown, "no kernel here"},
		{"p.md", 27, "text", "a picture\n", "", ""},
	}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if _, err := Parse("p.md", []byte("<!-- run -->\n\nText.\n")); err == nil || !strings.Contains(err.Error(), "no block follows") {
		t.Error(err)
	}
}
