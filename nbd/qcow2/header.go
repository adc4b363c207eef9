package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
)

// ErrNotQcow2: a file is not a qcow2 image, or its header is invalid.
var ErrNotQcow2 = errors.New("not a qcow2 image")

// ErrExternalData: the header of an image names another file that holds the
// data. No image of the agent does; to open one would let an image choose which
// file QEMU reads.
var ErrExternalData = errors.New("image keeps its data in another file")

// Info is what the header of an image says. All of it but ActualBytes comes from
// the image and is untrusted until it is compared with records: the backing file
// may be any name.
type Info struct {
	VirtualBytes  int64 // size that the guest sees
	ActualBytes   int64 // allocated on the file system, holes not counted
	ClusterBytes  int64
	BackingFile   string // as written in the header; empty for a full image
	BackingFormat string
	ExtendedL2    bool
	Dirty         bool // was not closed cleanly; only set in images with lazy refcounts
	Corrupt       bool // QEMU has marked it as corrupt and refuses to write to it
	Encrypted     bool // by LUKS; the header itself is not encrypted
}

// The header of a qcow2 image, see docs/interop/qcow2.txt of QEMU.
const (
	qcow2Magic    = 0x514649fb // "QFI\xfb"
	header2Bytes  = 72         // of version 2
	header3Bytes  = 104        // of version 3, at least
	backingFormat = 0xe2792aca // header extension: the format of the backing file

	// Methods of encryption. QEMU's method 1 is broken, and QEMU makes no more such images.
	cryptNone = 0
	cryptLUKS = 2

	// MaxClusterBytes is the size of the largest cluster that QEMU accepts.
	MaxClusterBytes = 2 << 20
	// MaxBackingName is the limit of the name of a backing file in a header, in bytes.
	MaxBackingName = 1023

	minClusterBits, maxClusterBits = 9, 21
	maxTableBytes                  = 32 << 20 // of an L1 table that QEMU reads
)

// Incompatible features: a program that does not know one of them must not open the image.
const (
	featureDirty = 1 << iota
	featureCorrupt
	featureDataFile
	featureCompression
	featureExtendedL2

	knownFeatures = featureDirty | featureCorrupt | featureDataFile | featureCompression | featureExtendedL2
)

// header has the fields of version 2, and those of version 3 that are read here.
type header struct {
	Magic, Version   uint32
	BackingOffset    uint64
	BackingLength    uint32
	ClusterBits      uint32
	Size             uint64
	Crypt            uint32
	L1Entries        uint32
	L1Offset         uint64
	RefcountOffset   uint64
	RefcountClusters uint32 // of the refcount table
	_                uint32 // snapshots
	_                uint64
	Incompatible     uint64
	_, _             uint64 // compatible and autoclear features
	RefcountOrder    uint32 // a refcount has 2^n bits
	HeaderLength     uint32
}

// ReadInfo reads the header of an open image. Its errors are ErrNotQcow2, ErrExternalData and those of the file.
func ReadInfo(file io.ReaderAt, stat fs.FileInfo) (Info, error) {
	if !stat.Mode().IsRegular() {
		return Info{}, fmt.Errorf("is not a regular file (%s)", stat.Mode().Type())
	}
	info, err := parseHeader(file, stat.Size())
	if st, ok := stat.Sys().(*syscall.Stat_t); ok && err == nil {
		info.ActualBytes = st.Blocks * 512 // stat(2)
	}
	return info, err
}

// parseHeader reads the header of an image. length is that of the file, in bytes.
// It refuses what QEMU refuses when it opens an image, and a file that ends
// before its tables do.
func parseHeader(r io.ReaderAt, length int64) (Info, error) {
	h, err := decodeHeader(r, length)
	if err != nil {
		return Info{}, err
	}
	info := Info{
		VirtualBytes: int64(h.Size), ClusterBytes: 1 << h.ClusterBits, ExtendedL2: h.Incompatible&featureExtendedL2 != 0,
		Dirty: h.Incompatible&featureDirty != 0, Corrupt: h.Incompatible&featureCorrupt != 0, Encrypted: h.Crypt == cryptLUKS,
	}
	if h.BackingOffset == 0 {
		return info, nil
	}
	if info.BackingFile, err = h.backing(r); err == nil {
		info.BackingFormat, err = h.backingFormat(r)
	}
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrNotQcow2, err)
	}
	return info, nil
}

func decodeHeader(r io.ReaderAt, length int64) (h header, err error) {
	var raw [header3Bytes]byte
	n, err := r.ReadAt(raw[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return h, err
	}
	if _, err := binary.Decode(raw[:], binary.BigEndian, &h); err != nil {
		return h, err
	}
	switch {
	case n < header2Bytes || h.Magic != qcow2Magic:
		return h, ErrNotQcow2
	case h.Version == 2: // its header ends here
		h.Incompatible, h.HeaderLength, h.RefcountOrder = 0, header2Bytes, 4
	case h.Version != 3 || n < header3Bytes:
		return h, fmt.Errorf("%w: version %d, %d bytes of header", ErrNotQcow2, h.Version, n)
	case h.Incompatible&featureDataFile != 0:
		return h, ErrExternalData
	}
	if err := h.validate(length); err != nil {
		return h, fmt.Errorf("%w: %w", ErrNotQcow2, err)
	}
	return h, nil
}

// validate fails for a header that is impossible for a file of that length, in bytes.
func (h header) validate(length int64) error {
	switch {
	case h.Incompatible&^knownFeatures != 0:
		return fmt.Errorf("unknown features (%#x)", h.Incompatible&^knownFeatures)
	case h.ClusterBits < minClusterBits || h.ClusterBits > maxClusterBits:
		return fmt.Errorf("clusters of 2^%d bytes", h.ClusterBits)
	case h.Crypt != cryptNone && h.Crypt != cryptLUKS:
		return fmt.Errorf("encrypted by method %d", h.Crypt)
	case h.Size > 1<<63-1:
		return fmt.Errorf("a size of %d bytes", h.Size)
	case h.L1Entries > maxTableBytes/8 || uint64(h.L1Entries) < h.l1Entries():
		return fmt.Errorf("an L1 table of %d entries for %d bytes", h.L1Entries, h.Size)
	case !h.holds(h.L1Offset, uint64(h.L1Entries)*8, length):
		return fmt.Errorf("its L1 table of %d entries is at byte %d of %d", h.L1Entries, h.L1Offset, length)
	case !h.holds(h.RefcountOffset, 8, length):
		return fmt.Errorf("its refcount table is at byte %d of %d", h.RefcountOffset, length)
	}
	return nil
}

// l1Entries is how many entries of the L1 table the size needs: an L2 table is one cluster, and its entries have 8 bytes, with
// subclusters 16.
func (h header) l1Entries() uint64 {
	bits := h.ClusterBits + h.ClusterBits - 3
	if h.Incompatible&featureExtendedL2 != 0 {
		bits--
	}
	return (h.Size + 1<<bits - 1) >> bits
}

// holds reports whether a table begins at a cluster and lies within a file of that length, in bytes.
func (h header) holds(offset, bytes uint64, length int64) bool {
	return bytes == 0 || offset > 0 && offset&(1<<h.ClusterBits-1) == 0 && offset <= uint64(length) && bytes <= uint64(length)-offset
}

// backing reads the name of the backing file, which must lie in the first cluster.
func (h header) backing(r io.ReaderAt) (string, error) {
	if h.BackingOffset > MaxClusterBytes || h.BackingLength > MaxBackingName {
		return "", fmt.Errorf("the name of its backing file has %d bytes at byte %d", h.BackingLength, h.BackingOffset)
	}
	name := make([]byte, h.BackingLength)
	if n, err := r.ReadAt(name, int64(h.BackingOffset)); n < len(name) {
		return "", fmt.Errorf("the name of its backing file: %w", err)
	}
	return string(name), nil
}

// backingFormat reads the extension that names the format of the backing file; "" if there is none. The extensions are between the
// header and the name of that file: 8 bytes each, and their data, padded to 8 bytes.
func (h header) backingFormat(r io.ReaderAt) (string, error) {
	for at := int64(h.HeaderLength); at+8 <= int64(h.BackingOffset); {
		var extension struct{ Kind, Length uint32 }
		if err := binary.Read(io.NewSectionReader(r, at, 8), binary.BigEndian, &extension); err != nil {
			return "", fmt.Errorf("its header extensions: %w", err)
		}
		at += 8
		if extension.Kind == 0 {
			return "", nil
		}
		if extension.Kind == backingFormat {
			name := make([]byte, min(extension.Length, 16)) // QEMU's limit
			if n, err := r.ReadAt(name, at); n < len(name) {
				return "", fmt.Errorf("the format of its backing file: %w", err)
			}
			return string(name), nil
		}
		at += (int64(extension.Length) + 7) &^ 7
	}
	return "", nil
}
