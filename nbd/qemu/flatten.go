package qemu

import (
	"cmp"
	"context"
	"fmt"
)

// FlattenSpec describes an image that Flatten makes independent of its parents.
type FlattenSpec struct {
	Image     Layer
	Backing   string  // parent in its header, or in its header before an interrupted Flatten; relative to its directory
	Base      []Layer // the chain that it is based on, the nearest first
	SizeBytes int64   // of the disk
	Cache     string  // QEMU's cache mode, see iomode.Mode
}

// Flatten makes an image independent of its parents, in place, without a change to what a guest reads: it copies the data that the
// image does not hold itself. Of an image that holds everything it reads only the metadata. When it returns, the image is on the
// disk. After an interruption at any point, call it again.
//
// It is "qemu-img rebase", which writes the header last; the header may reach the disk before the tables of the copied data. So if
// the header names no parent, Flatten sets Backing as its parent again and repeats the work.
func (t Tools) Flatten(ctx context.Context, s FlattenSpec) error {
	info, err := t.Info(s.Image.Path)
	if err != nil {
		return err
	}
	if info.BackingFile == "" {
		if err := t.rebase(ctx, s.Image, nil, s.SizeBytes, s.Cache, "-u", "-F", ImageFormat, "-b", backingName(s.Backing)); err != nil {
			return err
		}
	}
	if err := t.rebase(ctx, s.Image, s.Base, s.SizeBytes, s.Cache, "-b", ""); err != nil {
		return err
	}
	file, _, info, err := t.openImage(s.Image.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	if info.BackingFile != "" {
		return fmt.Errorf("image %s: is still based on %q after qemu-img rebase", s.Image.Path, info.BackingFile)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("image %s: %w", s.Image.Path, err)
	}
	return nil
}

// rebase runs qemu-img rebase on an image with the given parents, or none, whatever its header says.
func (t Tools) rebase(ctx context.Context, image Layer, base []Layer, sizeBytes int64, cache string, args ...string) error {
	c := call{verb: "rebase", path: image.Path, limits: merging(sizeBytes)}
	defer c.close()
	if err := cmp.Or(t.mayWrite(&c, image), t.mayRead(&c, base...)); err != nil {
		return err
	}
	name, err := chainNode(c.nodes(append([]Layer{image}, base...))).name()
	if err != nil {
		return err
	}
	_, err = t.run(ctx, c, append([]string{"-q", "-t", cache, "-T", cache}, append(args, name)...)...)
	return err
}
