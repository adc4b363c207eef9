package qemu

import (
	"cmp"
	"context"
	"fmt"
)

// FlattenSpec says which image is to stand on nothing.
type FlattenSpec struct {
	Image     Layer
	Backing   string  // what its header names, or named before a run that was cut short, relative to its directory
	Base      []Layer // the chain that it stands on, the nearest first
	SizeBytes int64   // of the disk
	Cache     string  // QEMU's cache mode, as of an IOMode
}

// Flatten has an image stand on nothing, in place, and hold what it held. What the image does not hold itself is copied into
// it; of one that holds everything nothing is read but its metadata. The image is on the disk when it returns. It may be run
// again after an end anywhere in it.
//
// It is "qemu-img rebase", which writes the header in the end, and may have it on the disk before the tables of what it has
// copied. So of an image whose header names nothing already the work is done anew, from what the header named before.
func (t Tools) Flatten(ctx context.Context, s FlattenSpec) error {
	info, err := t.Info(s.Image.Path)
	if err != nil {
		return err
	}
	if info.BackingFile == "" {
		if err := t.rebase(ctx, s, nil, "-u", "-F", ImageFormat, "-b", backingName(s.Backing)); err != nil {
			return err
		}
	}
	if err := t.rebase(ctx, s, s.Base, "-b", ""); err != nil {
		return err
	}
	file, _, info, err := t.openImage(s.Image.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	if info.BackingFile != "" {
		return fmt.Errorf("image %s: still stands on %q after qemu-img rebase", s.Image.Path, info.BackingFile)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("image %s: %w", s.Image.Path, err)
	}
	return nil
}

// rebase runs qemu-img rebase on an image that stands on a chain, or on nothing, whatever its header says.
func (t Tools) rebase(ctx context.Context, s FlattenSpec, base []Layer, args ...string) error {
	c := call{verb: "rebase", path: s.Image.Path, limits: merging(s.SizeBytes)}
	defer c.close()
	if err := cmp.Or(t.mayWrite(&c, s.Image), t.mayRead(&c, base...)); err != nil {
		return err
	}
	name, err := chainNode(c.nodes(append([]Layer{s.Image}, base...))).name()
	if err != nil {
		return err
	}
	_, err = t.run(ctx, c, append([]string{"-q", "-t", s.Cache, "-T", s.Cache}, append(args, name)...)...)
	return err
}
