package vcenter

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
)

const trackingBlockBytes = 64 << 10

// A Generation is what a disk held at one change id: a digest for every block of
// trackingBlockBytes that is not all zeroes.
type Generation map[int64][16]byte

// changes stores the generation of every change id.
type changes struct {
	mu    sync.Mutex
	given map[string]Generation
}

func (c *changes) remember(changeID string, now Generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.given == nil {
		c.given = make(map[string]Generation)
	}
	c.given[changeID] = now
}

// since simulates QueryChangedDiskAreas: the parts of a disk that changed since the
// id was given. As in vCenter, the id of another disk is an error, and so is
// an empty one.
func (c *changes) since(changeID, own string, now Generation, capacity int64) ([]Extent, error) {
	c.mu.Lock()
	before, known := c.given[changeID]
	c.mu.Unlock()
	uuid, _ := ParseChangeID(changeID)
	if ofDisk, _ := ParseChangeID(own); !known || uuid != ofDisk {
		return nil, fmt.Errorf("QueryChangedDiskAreas: change id %q: a specified parameter was not correct", changeID)
	}
	changed := make(map[int64]bool)
	for block, digest := range now {
		if old, had := before[block]; !had || old != digest {
			changed[block] = true
		}
	}
	for block := range before {
		if _, has := now[block]; !has {
			changed[block] = true
		}
	}
	return joined(slices.Sorted(maps.Keys(changed)), capacity), nil
}

// joined turns block numbers, in order, into extents.
func joined(blocks []int64, capacity int64) []Extent {
	var extents []Extent
	for _, block := range blocks {
		at := block * trackingBlockBytes
		if at >= capacity {
			break // the disk has shrunk
		}
		length := min(trackingBlockBytes, capacity-at)
		if last := len(extents) - 1; last >= 0 && extents[last].End() == at {
			extents[last].Length += length
			continue
		}
		extents = append(extents, Extent{Offset: at, Length: length})
	}
	return extents
}

// digests reads every block of a disk that holds data.
func digests(ctx context.Context, file *os.File, capacity int64) (Generation, error) {
	data, err := dataExtents(file, capacity)
	if err != nil {
		return nil, err
	}
	now := make(Generation)
	buffer := make([]byte, trackingBlockBytes)
	next := int64(0)
	for _, part := range data {
		for block := max(next, part.Offset/trackingBlockBytes); block*trackingBlockBytes < part.End(); block++ {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			at := block * trackingBlockBytes
			piece := buffer[:min(trackingBlockBytes, capacity-at)]
			if err := ReadAt(file, piece, at); err != nil {
				return nil, err
			}
			if !IsZero(piece) {
				sum := sha256.Sum256(piece)
				now[block] = [16]byte(sum[:])
			}
			next = block + 1
		}
	}
	return now, nil
}

// zeroes is compared with, never written to.
var zeroes [64 << 10]byte

// IsZero says whether all bytes are zero.
func IsZero(p []byte) bool {
	for len(p) > len(zeroes) {
		if !bytes.Equal(p[:len(zeroes)], zeroes[:]) {
			return false
		}
		p = p[len(zeroes):]
	}
	return bytes.Equal(p, zeroes[:len(p)])
}

// ParseChangeID splits "<uuid>/<number>" as SBC does; ok is false for an id that SBC
// treats as invalid.
func ParseChangeID(id string) (uuid string, ok bool) {
	parts := strings.Split(id, "/")
	if len(parts) != 2 {
		return "", false
	}
	return parts[0], true
}
