package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrCutShort is returned for an image whose file ends before what it says is in it. QEMU reads zeroes there.
var ErrCutShort = errors.New("was cut short")

// The bounds of QEMU for the table that names the refcount blocks (QCOW_MAX_REFTABLE_SIZE), and of how many blocks are read behind the
// end of the file: an image that is whole has one or two that reach beyond it.
const (
	maxRefcountTable = 8 << 20
	maxBlocksBehind  = 64
	maxRefcountOrder = 6
)

// CheckExtent looks for clusters in use that begin behind the end of an image which is so many bytes long. That the last one is not
// there to its end is no fault: QEMU writes no more of it than there is.
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
		return fmt.Errorf("%w: its refcount table lies behind its end, byte %d", ErrCutShort, length)
	}
	perBlock := cluster * 8 >> h.RefcountOrder // clusters that a block tells of
	behind := (length + cluster - 1) / cluster // the first cluster that does not begin in the file
	first := behind / perBlock                 // the block that tells of it
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
			return fmt.Errorf("%w: more than %d refcount blocks tell of what is behind its end", ErrNotQcow2, maxBlocksBehind)
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

// lastUsed is the last cluster in use that a refcount block tells of, not before the given one; -1 for none.
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
	block[0] &= 0xFF << (from * bits % 8) // several of less than a byte: the first in the lowest bits
	for i := len(block) - 1; i >= 0; i-- {
		if block[i] == 0 {
			continue
		}
		at := (skip + int64(i)) * 8 / bits
		for b := block[i] >> bits; bits < 8 && b != 0; b >>= bits { // which of those in the byte
			at++
		}
		return at, nil
	}
	return -1, nil
}
