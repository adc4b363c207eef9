package qemu

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
)

// SqueezeSpec describes an image of which Squeeze keeps the differences from its parent.
type SqueezeSpec struct {
	Image     Layer
	Path      string  // of the new image, in the directory of Image; must not exist
	Backing   string  // parent in the header of Image, relative to its directory
	Base      []Layer // the chain that Image is based on, the nearest first; not empty
	SizeBytes int64   // of the disk
	Cache     string  // QEMU's cache mode, see IOMode
}

// Squeeze makes a new image that is based on the parent of an image, reads as the image does, and holds no block that the parent has
// with the same data. It changes no other image. When it returns, the new image was compared with the old one and is on the disk. After
// an error a file may be left at Path.
//
// It is "qemu-img rebase" of an empty overlay of the image onto the parent of the image. That reads what the image holds itself, and the
// same places of the parent; it writes what differs.
func (t Tools) Squeeze(ctx context.Context, s SqueezeSpec) error {
	made := Layer{s.Path, s.Image.Key}
	tools := t.WithKey(s.Image.Key)
	err := tools.Create(ctx, ImageSpec{Path: s.Path, SizeBytes: s.SizeBytes, BackingFile: filepath.Base(s.Image.Path)})
	if err != nil {
		return err
	}
	if err := tools.keepDifferences(ctx, s, made); err != nil {
		return err
	}
	// The header names the parent as QEMU opened it.
	if err := tools.rebase(ctx, made, nil, s.SizeBytes, s.Cache, "-u", "-F", ImageFormat, "-b", backingName(s.Backing)); err != nil {
		return err
	}
	if err := tools.Compare(ctx, slices.Concat([]Layer{s.Image}, s.Base), slices.Concat([]Layer{made}, s.Base)); err != nil {
		return err
	}
	file, _, info, err := t.openImage(s.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	if info.BackingFile != s.Backing {
		return fmt.Errorf("image %s: is based on %q, want %q", s.Path, info.BackingFile, s.Backing)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("image %s: %w", s.Path, err)
	}
	return nil
}

// keepDifferences makes an empty overlay of an image an overlay of the parent of the image.
func (t Tools) keepDifferences(ctx context.Context, s SqueezeSpec, made Layer) error {
	c := call{verb: "rebase", path: s.Path, limits: merging(s.SizeBytes)}
	defer c.close()
	if err := cmp.Or(t.mayWrite(&c, made), t.mayRead(&c, s.Image), t.mayRead(&c, s.Base...)); err != nil {
		return err
	}
	nodes := c.nodes(slices.Concat([]Layer{made, s.Image}, s.Base))
	top := chainNode(nodes)
	// Zeroes that the parent does not have need no space.
	top.Discard, top.DetectZeroes = "unmap", "unmap"
	parent := nodes[2]
	onto := parent.ownName()
	if len(c.keys) == 0 {
		// The parent finds its own parents by their headers; then QEMU's name for it is its path.
		parent.Backing, onto = nil, s.Base[0].Path
	}
	name, err := top.name()
	if err != nil {
		return err
	}
	_, err = t.run(ctx, c, "-q", "-t", s.Cache, "-T", s.Cache, "-F", ImageFormat, "-b", onto, name)
	return err
}
