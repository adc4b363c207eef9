package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// SqueezeSpec describes an image of which Squeeze keeps the differences from another.
type SqueezeSpec struct {
	Image Layer
	Base  []Layer // the chain that Image is based on, the nearest first; empty if it holds the whole disk
	// Path is the name of the new image, in the directory of Image. No file may have it.
	Path string
	// Onto is the chain that the new image is based on, the nearest first; not empty. It may be Base.
	Onto      []Layer
	Backing   string // the first of Onto, as the header of the new image names it: relative to its directory
	SizeBytes int64  // of the disk
	MaxBytes  int64  // of the new file: Squeeze ends with ErrTooLarge when it would be larger, apart from 4 MiB of metadata
	Cache     string // QEMU's cache mode, see iomode.Mode
	// Room is called every roomInterval while the new image is written. If it returns an error, Squeeze ends with it. It may be nil.
	Room func() error
}

// ErrTooLarge: the new image would be larger than its limit.
var ErrTooLarge = errors.New("the image is larger than its limit")

const (
	squeezedMetadata = 4 << 20 // bytes: the header of an encrypted image has 2 MiB
	roomInterval     = time.Second
)

// Squeeze makes a new image that is based on Onto, reads as the image does, and holds no block that is the same there. It changes no
// other image. When it returns, the new image was compared with the old one and is on the disk. After an error a file may be left at
// Path.
//
// It is "qemu-img rebase" of an empty overlay of the image. That reads the image and the same places of Onto, and writes what differs. If
// the image is based on Onto, it reads only what the image holds itself.
func (t Tools) Squeeze(ctx context.Context, s SqueezeSpec) error {
	ctx, stop := whileRoom(ctx, s.Room)
	defer stop()
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
	if err := tools.Compare(ctx, slices.Concat([]Layer{s.Image}, s.Base), slices.Concat([]Layer{made}, s.Onto)); err != nil {
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

// keepDifferences makes an empty overlay of an image an overlay of another.
func (t Tools) keepDifferences(ctx context.Context, s SqueezeSpec, made Layer) error {
	c := call{verb: "rebase", path: s.Path, limits: merging(s.SizeBytes)}
	c.limits.FileBytes = min(c.limits.FileBytes, uint64(max(s.MaxBytes, 0))+squeezedMetadata)
	defer c.close()
	if err := cmp.Or(t.mayWrite(&c, made), t.mayRead(&c, s.Image), t.mayRead(&c, s.Base...)); err != nil {
		return err
	}
	below := slices.Equal(s.Base, s.Onto)
	if !below {
		if err := t.mayRead(&c, s.Onto...); err != nil {
			return err
		}
	}
	nodes := c.nodes(slices.Concat([]Layer{made, s.Image}, s.Base))
	top := chainNode(nodes)
	// Zeroes that the parent does not have need no space.
	top.Discard, top.DetectZeroes = "unmap", "unmap"
	onto, err := c.openedName(s.Onto)
	switch {
	case err != nil:
		return err
	case below && len(c.keys) == 0:
		nodes[2].Backing = nil // it finds its parents by their headers, so that QEMU's name for it is its path
	case below:
		onto = nodes[2].ownName()
	}
	name, err := top.name()
	if err != nil {
		return err
	}
	_, err = t.run(ctx, c, "-q", "-t", s.Cache, "-T", s.Cache, "-F", ImageFormat, "-b", onto, name)
	if nameTooLong(err) {
		return nil
	}
	return err
}

// openedName is the name by which QEMU opens a chain, with its keys. The headers name the images below the first.
func (c *call) openedName(layers []Layer) (string, error) {
	var keys []string
	for _, l := range layers {
		keys = append(keys, c.keys.id(l.Key))
	}
	if strings.Join(keys, "") == "" {
		return layers[0].Path, nil
	}
	n := imageNode(layers[0].Path, keys[0])
	n.setParentKeys(keys[1:])
	return n.name()
}

// nameTooLong reports that qemu-img rebase did everything but write the name of the parent into the header, which has room for 1,023
// bytes (img_rebase in qemu-img.c: the header is the last). The name of a long chain with keys is longer. Squeeze and Merge replace that
// name in any case, and the images are compared.
func nameTooLong(err error) bool {
	var failure *ToolError
	return errors.As(err, &failure) && strings.Contains(failure.Stderr, "Could not change the backing file")
}

// whileRoom returns a context that ends with the error that room returns. stop ends the calls of room.
func whileRoom(ctx context.Context, room func() error) (_ context.Context, stop func()) {
	if room == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(roomInterval); ; {
			if err := room(); err != nil {
				cancel(err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				tick.Stop()
				return
			}
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}
