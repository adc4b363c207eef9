package qemu

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestAlignedPieces: writes that share blocks with their neighbors, all at the same time, lose nothing, on a disk of any size, and the client
// sees the block sizes of an export without pieces.
func TestAlignedPieces(t *testing.T) {
	for _, size := range []int64{24*MiB + 512, 24*MiB + 4096, 24*MiB + 96<<10, 24 * MiB} {
		for _, parent := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d, parent %v", size, parent), func(t *testing.T) {
				t.Parallel()
				dir := tempDir(t)
				spec := ImageSpec{Path: newImage(t, filepath.Join(dir, "a.qcow2"), size), SizeBytes: size}
				if parent {
					spec.Path, spec.BackingFile = filepath.Join(dir, "b.qcow2"), "a.qcow2"
					create(t, spec, Secret{})
				}
				s, first := serveRefusing(t, ServerOptions{Image: spec.Path, SizeBytes: size})
				if i := first.Info; i.MinBlock != 1 || i.MaxBlock != 32*MiB {
					t.Errorf("%+v", i)
				}
				// Writer i writes every third of the parts, whose ends are anywhere.
				want, lot := random(4, int(size)), rand.New(rand.NewPCG(5, 6))
				parts := []int64{0}
				for at := int64(0); at < size; parts = append(parts, at) {
					at = min(size, at+512*(1+lot.Int64N(1200)))
				}
				var group errgroup.Group
				for i := range 3 {
					c := dial(t, s)
					group.Go(func() error {
						for p := i; p+1 < len(parts); p += 3 {
							if _, err := c.WriteAt(want[parts[p]:parts[p+1]], parts[p]); err != nil {
								return err
							}
						}
						return nil
					})
				}
				if err := group.Wait(); err != nil {
					t.Fatalf("%v: %s", err, s.stderr)
				}
				holds(t, first, 0, want)
			})
		}
	}
}
