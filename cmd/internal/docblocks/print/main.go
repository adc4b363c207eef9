// Command print writes the blocks that the test of the package runs, each to a file of its own:
//
//	print DIRECTORY DOCUMENT...
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/cmd/internal/docblocks"
)

func main() {
	if err := write(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "print:", err)
		os.Exit(1)
	}
}

func write(dir string, documents []string) error {
	n := 0
	for _, path := range documents {
		blocks, err := docblocks.Read(path)
		if err != nil {
			return err
		}
		for _, b := range blocks {
			if b.Do != docblocks.Package {
				continue
			}
			f, err := os.OpenFile(filepath.Join(dir, b.Argument), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return fmt.Errorf("%s: %w", b, err)
			}
			_, err = f.WriteString(b.Text)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			n++
		}
	}
	if n == 0 {
		return errors.New("no document has a block for the package")
	}
	return nil
}
