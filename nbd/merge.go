package nbd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// ErrDiffers is returned for two images of which a guest would not read the same.
var ErrDiffers = errors.New("images differ")

// MergeSpec says which images are merged into a new one.
type MergeSpec struct {
	// Layers are what the new image is to hold, the newest first: each stands on the next. The last may stand on anything;
	// what that holds is not read.
	Layers []string
	// Base is the chain that the new image stands on, the nearest first, and is named by Image.BackingFile. It must be what the
	// last of Layers stands on, further down or not. Empty: the new image stands on nothing.
	Base     []string
	Image    ImageSpec
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
	for _, image := range []ImageSpec{m.Image, top} {
		if err := t.Create(ctx, image); err != nil {
			return err
		}
	}
	c := call{verb: "commit", path: m.Image.Path, limits: merging(m.Image.SizeBytes)}
	defer c.close()
	err := errors.Join(t.mayWrite(&c, top.Path, m.Image.Path), t.mayRead(&c, m.Layers...), t.mayRead(&c, m.Base...))
	if err != nil {
		return err
	}
	if m.Progress != nil {
		c.stdout = &percentages{tell: m.Progress}
	}
	// The new image finds its base by its header: QEMU compares names, and gives one whose backing was named here another.
	chain := append([]string{top.Path}, m.Layers...)
	name, err := chainName(append(chain, m.Image.Path), false, m.Layers...)
	if err != nil {
		return err
	}
	// -d: the overlay is thrown away, so it need not be emptied.
	if _, err := t.run(ctx, c, "-p", "-d", "-t", m.Cache, "-b", m.Image.Path, name); err != nil {
		return err
	}
	return t.remove(top.Path)
}

// Compare reads two chains of images, the nearest first, and returns ErrDiffers when a guest would not read the same of both.
func (t Tools) Compare(ctx context.Context, a, b []string) error {
	c := call{verb: "compare", path: b[0], limits: comparing()}
	defer c.close()
	if err := errors.Join(t.mayRead(&c, a...), t.mayRead(&c, b...)); err != nil {
		return err
	}
	first, err := chainName(a, true)
	if err != nil {
		return err
	}
	second, err := chainName(b, true)
	if err != nil {
		return err
	}
	_, err = t.run(ctx, c, "-q", first, second)
	var failure *ToolError
	if errors.As(err, &failure) && failure.ExitCode == 1 { // qemu-img(1): 0 identical, 1 different, above it is an error
		failure.Err = fmt.Errorf("%w: %s is not what %s is", ErrDiffers, b[0], a[0])
	}
	return err
}

// node is an image as QEMU's blockdev options have it.
type node struct {
	Driver string `json:"driver"`
	File   struct {
		Driver   string `json:"driver"`
		Filename string `json:"filename"`
		Locking  string `json:"locking,omitempty"`
	} `json:"file"`
	Backing any `json:"backing,omitempty"`
}

// chainName names images so that QEMU opens each on the next, whatever their headers say. When whole, the last one stands on
// nothing; otherwise on what its header names. Those that are open, read-only for ever, are not locked: QEMU's commit keeps
// others from reading the images between, which it takes for half done, and they are not written to here.
func chainName(images []string, whole bool, open ...string) (string, error) {
	var below any
	if whole {
		below = json.RawMessage("null")
	}
	for i := len(images) - 1; i >= 0; i-- {
		if err := checkPath(images[i]); err != nil {
			return "", err
		}
		n := node{Driver: "qcow2", Backing: below}
		n.File.Driver, n.File.Filename = "file", images[i]
		if slices.Contains(open, images[i]) {
			n.File.Locking = "off"
		}
		below = n
	}
	name, err := json.Marshal(below)
	return "json:" + string(name), err
}

// mayRead opens images, and looks at each, for a run that may read them.
func (t Tools) mayRead(c *call, images ...string) error {
	for _, path := range images {
		file, _, _, err := t.openImage(path)
		if err != nil {
			return err
		}
		c.read = append(c.read, file)
	}
	return nil
}

// mayWrite does so for images that the run may change.
func (t Tools) mayWrite(c *call, images ...string) error {
	for _, path := range images {
		file, _, _, err := t.openImage(path)
		if err != nil {
			return err
		}
		c.written = append(c.written, file)
	}
	return nil
}

func (c *call) close() {
	for _, files := range [][]*os.File{c.read, c.written} {
		for _, f := range files {
			_ = f.Close() // nothing was written through it
		}
	}
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
