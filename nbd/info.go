package nbd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// ImageInfo is what an image says of itself. Everything in it comes from the
// image, so nothing in it is to be believed before it is compared with records:
// the backing file may be any name.
type ImageInfo struct {
	Format        string // always "qcow2"
	VirtualBytes  int64  // size the guest sees
	ActualBytes   int64  // allocated on the file system, holes not counted
	ClusterBytes  int64
	BackingFile   string // as written in the header; empty for a full image
	BackingFormat string
	ExtendedL2    bool
	Dirty         bool // was not closed cleanly; only images with lazy refcounts know
	Corrupt       bool // QEMU marked it and refuses to write to it
	Encrypted     bool // by LUKS; it takes no key to tell the rest
}

// Info reads the header of a qcow2 image, also of one that is being served. It
// opens no other file: an image that keeps its data elsewhere is refused
// (ErrExternalData), and the backing file is named, never followed.
func (t Tools) Info(ctx context.Context, path string) (ImageInfo, error) {
	if err := checkPath(path); err != nil {
		return ImageInfo{}, err
	}
	image, _, _, err := t.openImage(path)
	if err != nil {
		return ImageInfo{}, err
	}
	defer image.Close() //nolint:errcheck // only read
	// -f keeps qemu-img from guessing, -U from failing on the exporter's lock.
	output, err := t.run(ctx, call{verb: "info", path: path, image: image, limits: reading()}, "-U", "-f", "qcow2", "--output=json", "--", path)
	if err != nil {
		return ImageInfo{}, err
	}
	info, err := parseInfo(output)
	if err != nil {
		return ImageInfo{}, fmt.Errorf("image %s: qemu-img info: %w", path, err)
	}
	return info, nil
}

// infoJSON is the part of ImageInfo in QEMU's qapi/block-core.json used here.
type infoJSON struct {
	Format         string `json:"format"`
	VirtualSize    *int64 `json:"virtual-size"`
	ActualSize     int64  `json:"actual-size"`
	ClusterSize    int64  `json:"cluster-size"`
	Backing        string `json:"backing-filename"`
	BackingFormat  string `json:"backing-filename-format"`
	Dirty          bool   `json:"dirty-flag"`
	Encrypted      bool   `json:"encrypted"`
	FormatSpecific struct {
		Data struct {
			ExtendedL2 bool   `json:"extended-l2"`
			Corrupt    bool   `json:"corrupt"`
			DataFile   string `json:"data-file"`
		} `json:"data"`
	} `json:"format-specific"`
}

func parseInfo(output []byte) (ImageInfo, error) {
	var raw infoJSON
	if err := json.Unmarshal(output, &raw); err != nil {
		return ImageInfo{}, fmt.Errorf("unreadable answer: %w", err)
	}
	switch {
	case raw.Format != "qcow2":
		return ImageInfo{}, fmt.Errorf("%w: format %q", ErrNotQcow2, raw.Format)
	case raw.FormatSpecific.Data.DataFile != "":
		return ImageInfo{}, ErrExternalData
	case raw.VirtualSize == nil:
		return ImageInfo{}, errors.New("answer without a virtual size")
	case *raw.VirtualSize < 0 || raw.ActualSize < 0 || raw.ClusterSize < 0:
		return ImageInfo{}, errors.New("answer with a negative size")
	}
	return ImageInfo{
		Format:        raw.Format,
		VirtualBytes:  *raw.VirtualSize,
		ActualBytes:   raw.ActualSize,
		ClusterBytes:  raw.ClusterSize,
		BackingFile:   raw.Backing,
		BackingFormat: raw.BackingFormat,
		ExtendedL2:    raw.FormatSpecific.Data.ExtendedL2,
		Dirty:         raw.Dirty,
		Corrupt:       raw.FormatSpecific.Data.Corrupt,
		Encrypted:     raw.Encrypted,
	}, nil
}
