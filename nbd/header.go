package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
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
)

// checkHeader looks at an image before any QEMU tool opens it.
func (t Tools) checkHeader(path string) error {
	err := as(t.Credential, func() error {
		// O_NONBLOCK: a FIFO put in the place of an image must not hang us.
		file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		if stat, err := file.Stat(); err != nil {
			return err
		} else if !stat.Mode().IsRegular() {
			return fmt.Errorf("is no regular file (%s)", stat.Mode().Type())
		}
		return parseHeader(io.NewSectionReader(file, 0, qcow2HeaderBytes))
	})
	if err != nil {
		return fmt.Errorf("image %s: %w", path, err)
	}
	return nil
}

func parseHeader(r io.Reader) error {
	var header [qcow2HeaderBytes]byte
	n, err := io.ReadFull(r, header[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if n < 72 || binary.BigEndian.Uint32(header[0:]) != qcow2Magic {
		return ErrNotQcow2
	}
	switch version := binary.BigEndian.Uint32(header[4:]); {
	case version == 2:
		return nil // has no feature bits
	case version != 3 || n < qcow2HeaderBytes:
		return fmt.Errorf("%w: version %d, %d bytes of header", ErrNotQcow2, version, n)
	}
	if binary.BigEndian.Uint64(header[72:])&featureDataFile != 0 {
		return ErrExternalData
	}
	return nil
}
