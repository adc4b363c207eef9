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
	Cache    string                 // QEMU's cache mode, see IOMode
	Progress func(fraction float64) // gets 0 to 1; may be nil
}

// topSuffix ends the name of an empty overlay that exists during a merge.
const topSuffix = ".top"

// Merge makes a new image that, with its base, holds what the layers hold together. It changes none of them. When it returns, the
// kernel has the data, but the disk may not. After an error, files may be left: Image.Path, and that name with ".top".
//
// It is "qemu-img commit" into an empty image, which for this one run is below the layers; an empty overlay is above them, because
// qemu-img opens the topmost image for writing. "qemu-img rebase" would change an image in place, and with QEMU 7.2 never ends on
// a disk that has grown; "qemu-img convert -B" reads the topmost layer only.
func (t Tools) Merge(ctx context.Context, m MergeSpec) error {
	top := ImageSpec{Path: m.Image.Path + topSuffix, SizeBytes: m.Image.SizeBytes, BackingFile: filepath.Base(m.Image.Path)}
	// The overlay stays empty, so there is nothing to encrypt.
	if err := cmp.Or(t.Create(ctx, m.Image), t.WithKey(Secret{}).Create(ctx, top)); err != nil {
		return err
	}
	c := call{verb: "commit", path: m.Image.Path, limits: merging(m.Image.SizeBytes)}
	defer c.close()
	image := Layer{m.Image.Path, t.Key}
	err := cmp.Or(t.mayWrite(&c, Layer{Path: top.Path}, image), t.mayRead(&c, m.Layers...), t.mayRead(&c, m.Base...))
	if err != nil {
		return err
	}
	if m.Progress != nil {
		c.stdout = &percentages{tell: m.Progress}
	}
	nodes := c.nodes(slices.Concat([]Layer{{Path: top.Path}}, m.Layers, []Layer{image}, m.Base))
	for _, layer := range nodes[1 : 1+len(m.Layers)] {
		// Restore points are read-only, and the merge does not write to them. QEMU's commit would lock them against other
		// readers, as it assumes that it changes the layers in between.
		layer.File.Locking = "off"
	}
	chain, target := chainNode(nodes), nodes[1+len(m.Layers)]
	// As for an export: QEMU copies a cluster that is partly data as a whole, and its zeroes would need space.
	target.Discard, target.DetectZeroes = "unmap", "unmap"
	onto := target.ownName()
	if len(c.keys) == 0 {
		// The new image finds its base by its header; then QEMU's name for it is its path.
		target.Backing, onto = nil, m.Image.Path
	}
	name, err := chain.name()
	if err != nil {
		return err
	}
	// -d: the overlay is removed, so it need not be emptied.
	if _, err := t.run(ctx, c, "-p", "-d", "-t", m.Cache, "-b", onto, name); err != nil {
		return err
	}
	return t.remove(top.Path)
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
