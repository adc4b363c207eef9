package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// ErrNotQcow2 is returned for a file that does not begin as a qcow2 image.
var ErrNotQcow2 = errors.New("not a qcow2 image")

// ErrExternalData is returned for a qcow2 image whose header sends QEMU to
// another file for its data. No image made here does; opening one would let an
// image choose which file is read.
var ErrExternalData = errors.New("image keeps its data in another file")

const (
	qcow2Magic       = 0x514649fb // "QFI\xfb"
	qcow2HeaderBytes = 104        // version 3 (QEMU docs/interop/qcow2.txt)
	featureDataFile  = 1 << 2     // incompatible feature: external data file

	// Methods of encryption. QEMU has another one, 1, which is broken and not made any more.
	cryptNone = 0
	cryptLUKS = 2
)

// A Header is what an image says of itself at its very beginning.
type Header struct {
	VirtualBytes int64  // size the guest sees
	BackingFile  string // as written; empty for a full image
	Encrypted    bool   // by LUKS
}

// Header reads the header of an image without any tool of QEMU, which takes no time: for an image that was just made. Info
// knows more.
func (t Tools) Header(path string) (Header, error) {
	if err := checkPath(path); err != nil {
		return Header{}, err
	}
	image, _, header, err := t.openImage(path)
	if err != nil {
		return Header{}, err
	}
	return header, image.Close()
}

// readHeader looks at an open image.
func readHeader(file io.ReaderAt, stat fs.FileInfo) (Header, error) {
	if !stat.Mode().IsRegular() {
		return Header{}, fmt.Errorf("is no regular file (%s)", stat.Mode().Type())
	}
	return parseHeader(file)
}

func parseHeader(r io.ReaderAt) (Header, error) {
	var header [qcow2HeaderBytes]byte
	n, err := r.ReadAt(header[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Header{}, err
	}
	if n < 72 || binary.BigEndian.Uint32(header[0:]) != qcow2Magic {
		return Header{}, ErrNotQcow2
	}
	switch version := binary.BigEndian.Uint32(header[4:]); {
	case version == 2: // has no feature bits
	case version != 3 || n < qcow2HeaderBytes:
		return Header{}, fmt.Errorf("%w: version %d, %d bytes of header", ErrNotQcow2, version, n)
	case binary.BigEndian.Uint64(header[72:])&featureDataFile != 0:
		return Header{}, ErrExternalData
	}
	size := binary.BigEndian.Uint64(header[24:])
	if size > 1<<63-1 {
		return Header{}, fmt.Errorf("%w: %d bytes large", ErrNotQcow2, size)
	}
	crypt := binary.BigEndian.Uint32(header[32:])
	if crypt != cryptNone && crypt != cryptLUKS {
		return Header{}, fmt.Errorf("%w: encrypted by method %d", ErrNotQcow2, crypt)
	}
	backing, err := backingOf(r, binary.BigEndian.Uint64(header[8:]), binary.BigEndian.Uint32(header[16:]))
	return Header{VirtualBytes: int64(size), BackingFile: backing, Encrypted: crypt == cryptLUKS}, err
}

// backingOf reads the name of the backing file, which must lie in the first cluster.
func backingOf(r io.ReaderAt, offset uint64, length uint32) (string, error) {
	if offset == 0 {
		return "", nil
	}
	if offset > maxClusterBytes || length > maxBackingName {
		return "", fmt.Errorf("%w: the name of its backing file is %d bytes at %d", ErrNotQcow2, length, offset)
	}
	name := make([]byte, length)
	if n, err := r.ReadAt(name, int64(offset)); n < len(name) {
		return "", fmt.Errorf("%w: the name of its backing file: %w", ErrNotQcow2, err)
	}
	return string(name), nil
}
