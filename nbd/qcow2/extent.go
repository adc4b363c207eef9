package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrCutShort: the file of an image ends before its data does. QEMU reads zeroes instead of the missing data.
var ErrCutShort = errors.New("was cut short")

// maxRefcountTable is QEMU's limit of the table of refcount blocks, in bytes (QCOW_MAX_REFTABLE_SIZE). maxBlocksBehind is the limit of
// blocks that cover clusters behind the end of the file: a whole image has one or two.
const (
	maxRefcountTable = 8 << 20
	maxBlocksBehind  = 64
	maxRefcountOrder = 6
)

// CheckExtent returns ErrCutShort if a cluster in use begins behind the end of the file, whose length is in bytes. An incomplete last
// cluster is no fault: QEMU writes only the used part of it. Other errors are ErrNotQcow2, ErrExternalData and those of the file.
func CheckExtent(r io.ReaderAt, length int64) error {
	h, err := decodeHeader(r, length)
	if err != nil {
		return err
	}
	if h.RefcountOrder > maxRefcountOrder {
		return fmt.Errorf("%w: refcounts of 2^%d bits", ErrNotQcow2, h.RefcountOrder)
	}
	cluster := int64(1) << h.ClusterBits
	tableBytes := int64(h.RefcountClusters) << h.ClusterBits
	switch {
	case tableBytes > maxRefcountTable:
		return fmt.Errorf("%w: a refcount table of %d bytes", ErrNotQcow2, tableBytes)
	case !h.holds(h.RefcountOffset, uint64(tableBytes), length):
		return fmt.Errorf("%w: its refcount table ends behind the end of the file, byte %d", ErrCutShort, length)
	}
	perBlock := cluster * 8 >> h.RefcountOrder // clusters that a block covers
	behind := (length + cluster - 1) / cluster // the first cluster that does not begin in the file
	first := behind / perBlock                 // the block that covers it
	if first*8 >= tableBytes {
		return nil
	}
	table := make([]byte, tableBytes-first*8)
	if _, err := r.ReadAt(table, int64(h.RefcountOffset)+first*8); err != nil {
		return err
	}
	read := 0
	for i := int64(len(table)/8) - 1; i >= 0; i-- {
		offset := binary.BigEndian.Uint64(table[i*8:])
		if offset == 0 {
			continue
		}
		if read++; read > maxBlocksBehind {
			return fmt.Errorf("%w: more than %d refcount blocks cover clusters behind its end", ErrNotQcow2, maxBlocksBehind)
		}
		from := max(behind-(first+i)*perBlock, 0)
		last, err := h.lastUsed(r, offset, from, length)
		if err != nil {
			return err
		}
		if last >= 0 {
			return fmt.Errorf("%w: it has clusters in use up to byte %d, and the file has %d", ErrCutShort, ((first+i)*perBlock+last+1)*cluster, length)
		}
	}
	return nil
}

// lastUsed returns the last cluster in use that a refcount block covers, as an index in the block and not below from; -1 for none.
func (h header) lastUsed(r io.ReaderAt, offset uint64, from, length int64) (int64, error) {
	if !h.holds(offset, 1<<h.ClusterBits, length) {
		return 0, fmt.Errorf("%w: a block of its refcounts is at byte %d, and the file has %d", ErrCutShort, offset, length)
	}
	bits := int64(1) << h.RefcountOrder
	skip := from * bits / 8 // bytes
	block := make([]byte, int64(1)<<h.ClusterBits-skip)
	if len(block) == 0 {
		return -1, nil
	}
	if _, err := r.ReadAt(block, int64(offset)+skip); err != nil {
		return 0, err
	}
	block[0] &= 0xFF << (from * bits % 8) // refcounts smaller than a byte: the first is in the lowest bits
	for i := len(block) - 1; i >= 0; i-- {
		if block[i] == 0 {
			continue
		}
		at := (skip + int64(i)) * 8 / bits
		for b := block[i] >> bits; bits < 8 && b != 0; b >>= bits { // the last one in use in this byte
			at++
		}
		return at, nil
	}
	return -1, nil
}
