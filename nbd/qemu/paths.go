package qemu

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// checkPath refuses a path that QEMU, D-Bus or a log would misread. QEMU does not
// read "proto:rest" and "json:{...}" as a file, but only if the ':' comes before
// the first '/' (path_has_protocol in QEMU's block.c). So an absolute path is
// always a file: spaces, commas, colons, quotes, backslashes and '$' in it work
// with qemu-nbd and qemu-img 7.2 (tried). D-Bus carries UTF-8 only.
func checkPath(path string) error {
	switch {
	case path == "":
		return fmt.Errorf("image path is empty")
	case !utf8.ValidString(path):
		return fmt.Errorf("image path %q: is not valid UTF-8", path)
	case strings.ContainsFunc(path, unicode.IsControl):
		return fmt.Errorf("image path %q: contains a control character", path)
	case !filepath.IsAbs(path):
		return fmt.Errorf("image path %q: must be absolute", path)
	case filepath.Clean(path) != path:
		return fmt.Errorf("image path %q: must be clean, such as %q", path, filepath.Clean(path))
	}
	return nil
}
