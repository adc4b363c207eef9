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

// ErrDiffers is returned for two images of which a guest would not read the same.
var ErrDiffers = errors.New("images differ")

// A Layer is one image of a chain.
type Layer struct {
	Path string
	Key  Secret // that opens it; none if it is plain
}

// MergeSpec says which images are merged into a new one.
type MergeSpec struct {
	// Layers are what the new image is to hold, the newest first: each stands on the next. The last may stand on anything;
	// what that holds is not read.
	Layers []Layer
	// Base is the chain that the new image stands on, the nearest first, and is named by Image.BackingFile. It must be what the
	// last of Layers stands on, further down or not, and encrypted like the new image, or plain like it. Empty: the new image
	// stands on nothing.
	Base     []Layer
	Image    ImageSpec              // is encrypted with the key of the tools
	Cache    string                 // QEMU's cache mode, as of an IOMode
	Progress func(fraction float64) // may be nil
}

// topSuffix ends the name of an image that is there while another is being made.
const topSuffix = ".top"

// Merge makes a new image which, on its base, holds what the layers hold together. None of them is changed. The bytes are
// with the kernel when it returns, not on the disk. After an error something may be left beside Image.Path.
//
// It is "qemu-img commit" into an image that is empty and stands, for this one run, beneath the layers; an empty overlay
// stands on them, because the topmost image is opened for writing. "qemu-img rebase" would change an image in place, and in
// QEMU 7.2 never ends on a disk that has grown; "qemu-img convert -B" takes the topmost layer alone.
func (t Tools) Merge(ctx context.Context, m MergeSpec) error {
	top := ImageSpec{Path: m.Image.Path + topSuffix, SizeBytes: m.Image.SizeBytes, BackingFile: filepath.Base(m.Image.Path)}
	// The overlay never holds anything, so there is nothing to encrypt.
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
		// They are open, read-only for ever, and not written to here. QEMU's commit would keep others from reading them, as it
		// takes what lies between for half done.
		layer.File.Locking = "off"
	}
	chain, target := chainNode(nodes), nodes[1+len(m.Layers)]
	// As an export does: QEMU copies a cluster of which a part is data as a whole, and its zeroes would take room.
	target.Discard, target.DetectZeroes = "unmap", "unmap"
	onto := target.ownName()
	if len(c.keys) == 0 {
		// Left to find its base by its header, the new image is known by its path.
		target.Backing, onto = nil, m.Image.Path
	}
	name, err := chain.name()
	if err != nil {
		return err
	}
	// -d: the overlay is thrown away, so it need not be emptied.
	if _, err := t.run(ctx, c, "-p", "-d", "-t", m.Cache, "-b", onto, name); err != nil {
		return err
	}
	return t.remove(top.Path)
}

// Compare reads two chains of images, the nearest first, and returns ErrDiffers when a guest would not read the same of both.
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
		failure.Err = fmt.Errorf("%w: %s is not what %s is", ErrDiffers, b[0].Path, a[0].Path)
	}
	return err
}

// nodes describe images, of which the run is handed the keys.
func (c *call) nodes(images []Layer) (nodes []*blockNode) {
	for _, l := range images {
		nodes = append(nodes, imageNode(l.Path, c.keys.id(l.Key)))
	}
	return nodes
}

// mayRead opens images, and looks at each, for a run that may read them.
func (t Tools) mayRead(c *call, images ...Layer) error {
	files, err := t.openLayers(images)
	c.read = append(c.read, files...)
	return err
}

// mayWrite does so for images that the run may change.
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
		if err := t.WithKey(l.Key).fits(l.Path, info); err != nil {
			return files, err
		}
	}
	return files, nil
}

func (c *call) close() {
	closeAll(c.read)
	closeAll(c.written)
}

// percentages reads what qemu-img prints with -p: "    (12.34/100%)" and a carriage return, again and again.
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
