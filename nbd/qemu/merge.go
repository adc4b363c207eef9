package qemu

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// ErrDiffers: a guest would not read the same from two images.
var ErrDiffers = errors.New("images differ")

// A Layer is one image of a chain.
type Layer struct {
	Path string
	Key  Secret // the zero value if the image is not encrypted
}

// MergeSpec describes a merge of images into a new one.
type MergeSpec struct {
	// Layers are merged into the new image, the newest first: each is based on the next. The parents of the last are not read.
	Layers []Layer
	// Base is the chain that the new image is based on, the nearest first; Image.BackingFile names the first. The last of Layers
	// must be based on it, directly or not. It must be encrypted if the new image is, and not encrypted if that is not. Empty:
	// the new image has no parent.
	Base     []Layer
	Image    ImageSpec              // encrypted with the key of the tools
	Cache    string                 // QEMU's cache mode, see iomode.Mode
	Progress func(fraction float64) // gets 0 to 1; may be nil
}

// Merge makes a new image that, with its base, holds what the layers hold together. It changes none of them. When it returns, the
// kernel has the data, but the disk may not. After an error a file may be left at Image.Path.
//
// Only data is copied: no block of 64 KiB that is zero, and none that is the same in the base. "qemu-img commit" would copy both: in QEMU
// 7.2 it takes 512 KiB at a time, zeroes between data included (block/commit.c).
func (t Tools) Merge(ctx context.Context, m MergeSpec) error {
	if len(m.Base) == 0 {
		return t.mergeAll(ctx, m)
	}
	return t.mergeOnto(ctx, m)
}

// mergeAll makes an image that has no parent. It is "qemu-img convert" into an image that exists: convert cannot make an encrypted one
// with a key that QEMU reads from a file that has no name.
func (t Tools) mergeAll(ctx context.Context, m MergeSpec) error {
	if err := t.Create(ctx, m.Image); err != nil {
		return err
	}
	c := call{verb: "convert", path: m.Image.Path, limits: merging(m.Image.SizeBytes)}
	defer c.close()
	image := Layer{m.Image.Path, t.Key}
	if err := cmp.Or(t.mayWrite(&c, image), t.mayRead(&c, m.Layers...)); err != nil {
		return err
	}
	from, err := chainNode(c.nodes(m.Layers)).name()
	if err != nil {
		return err
	}
	to, err := chainNode(c.nodes([]Layer{image})).name()
	if err != nil {
		return err
	}
	c.tell(m.Progress)
	// -S: zeroes of that length and alignment are left out. Shorter ones would make more writes, and save no cluster of an overlay.
	_, err = t.run(ctx, c, "-p", "-n", "--target-is-zero", "-S", "64k", "-t", m.Cache, "-T", m.Cache, "-O", ImageFormat, from, to)
	return err
}

// mergeOnto makes an image that has a parent. It is "qemu-img rebase" of an empty overlay of the layers onto the base: that looks only where
// a layer has something, and copies what differs from the base. A rebase of a layer itself would change it in place; "qemu-img convert -B"
// reads the topmost layer only.
func (t Tools) mergeOnto(ctx context.Context, m MergeSpec) error {
	overlay := m.Image
	var err error
	if overlay.BackingFile, err = filepath.Rel(filepath.Dir(m.Image.Path), m.Layers[0].Path); err != nil {
		return fmt.Errorf("image %s: %w", m.Image.Path, err)
	}
	if err := cmp.Or(t.checkParent(m.Image), t.Create(ctx, overlay)); err != nil {
		return err
	}
	if err := t.copyDifferences(ctx, m); err != nil {
		return err
	}
	// The header names the base as QEMU opened it.
	made := Layer{m.Image.Path, t.Key}
	return t.rebase(ctx, made, nil, m.Image.SizeBytes, m.Cache, "-u", "-F", ImageFormat, "-b", backingName(m.Image.BackingFile))
}

// copyDifferences copies what the layers hold, and the base has not, into an empty overlay of the layers.
func (t Tools) copyDifferences(ctx context.Context, m MergeSpec) error {
	c := call{verb: "rebase", path: m.Image.Path, limits: merging(m.Image.SizeBytes)}
	defer c.close()
	image := Layer{m.Image.Path, t.Key}
	if err := cmp.Or(t.mayWrite(&c, image), t.mayRead(&c, m.Layers...), t.mayRead(&c, m.Base...)); err != nil {
		return err
	}
	nodes := c.nodes(slices.Concat([]Layer{image}, m.Layers, m.Base))
	top, base := chainNode(nodes), nodes[1+len(m.Layers)]
	// Zeroes that the base does not have need no space.
	top.Discard, top.DetectZeroes = "unmap", "unmap"
	onto := base.ownName()
	if len(c.keys) == 0 {
		// The base finds its own parents by their headers; then QEMU's name for it is its path.
		base.Backing, onto = nil, m.Base[0].Path
	}
	name, err := top.name()
	if err != nil {
		return err
	}
	c.tell(m.Progress)
	_, err = t.run(ctx, c, "-p", "-t", m.Cache, "-T", m.Cache, "-F", ImageFormat, "-b", onto, name)
	if nameTooLong(err) {
		return nil // the caller writes another name
	}
	return err
}

// tell reports the progress of a call that prints it; progress may be nil.
func (c *call) tell(progress func(fraction float64)) {
	if progress == nil {
		progress = func(float64) {}
	}
	c.stdout = &percentages{tell: progress}
}

// Compare reads two chains of images, each the newest image first, and returns ErrDiffers if a guest would not read the same from
// both.
func (t Tools) Compare(ctx context.Context, a, b []Layer) error {
	c := call{verb: "compare", path: b[0].Path, limits: comparing()}
	defer c.close()
	if err := cmp.Or(t.mayRead(&c, a...), t.mayRead(&c, b...)); err != nil {
		return err
	}
	first, err := chainNode(c.nodes(a)).name()
	if err != nil {
		return err
	}
	second, err := chainNode(c.nodes(b)).name()
	if err != nil {
		return err
	}
	_, err = t.run(ctx, c, "-q", first, second)
	var failure *ToolError
	if errors.As(err, &failure) && failure.ExitCode == 1 { // qemu-img(1): 0 identical, 1 different, above it is an error
		failure.Err = fmt.Errorf("%w: %s does not read as %s does", ErrDiffers, b[0].Path, a[0].Path)
	}
	return err
}

// nodes describes images and adds their keys to the call.
func (c *call) nodes(images []Layer) (nodes []*blockNode) {
	for _, l := range images {
		nodes = append(nodes, imageNode(l.Path, c.keys.id(l.Key)))
	}
	return nodes
}

// mayRead opens images, checks their headers, and allows the call to read them.
func (t Tools) mayRead(c *call, images ...Layer) error {
	files, err := t.openLayers(images)
	c.read = append(c.read, files...)
	return err
}

// mayWrite does the same for images that the call may change.
func (t Tools) mayWrite(c *call, images ...Layer) error {
	files, err := t.openLayers(images)
	c.written = append(c.written, files...)
	return err
}

func (t Tools) openLayers(images []Layer) (files []*os.File, err error) {
	for _, l := range images {
		if err := checkPath(l.Path); err != nil {
			return files, err
		}
		file, _, info, err := t.openImage(l.Path)
		if err != nil {
			return files, err
		}
		files = append(files, file)
		if err := t.WithKey(l.Key).checkKey(l.Path, info); err != nil {
			return files, err
		}
	}
	return files, nil
}

func (c *call) close() {
	closeAll(c.read)
	closeAll(c.written)
}

// percentages reads the output of qemu-img -p: "    (12.34/100%)" and a carriage return, repeatedly.
type percentages struct {
	tell func(fraction float64)
	line []byte
}

func (p *percentages) Write(b []byte) (int, error) {
	for _, c := range b {
		switch {
		case c != '\r' && c != '\n':
			if len(p.line) < 64 {
				p.line = append(p.line, c)
			}
			continue
		default:
			text, _, found := bytes.Cut(bytes.TrimSpace(p.line), []byte("/100%)"))
			if n, err := strconv.ParseFloat(string(bytes.TrimPrefix(text, []byte("("))), 64); found && err == nil {
				p.tell(max(0, min(n/100, 1)))
			}
			p.line = p.line[:0]
		}
	}
	return len(b), nil
}
