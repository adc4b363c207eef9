package snatest

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

// generation is what a disk held at one change id: a digest for every block of
// trackingBlockBytes that is not all zeroes.
type generation map[int64][16]byte

// changes remembers the generation of every change id that was given.
type changes struct {
	mu    sync.Mutex
	given map[string]generation
}

func (c *changes) remember(changeID string, now generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.given == nil {
		c.given = make(map[string]generation)
	}
	c.given[changeID] = now
}

// since stands for QueryChangedDiskAreas: the parts of a disk that changed since
// the id was given. As in vCenter, the id of another disk is an error, and so is
// an empty one.
func (c *changes) since(changeID, own string, now generation, capacity int64) ([]extent, error) {
	c.mu.Lock()
	before, known := c.given[changeID]
	c.mu.Unlock()
	uuid, _ := parseChangeID(changeID)
	if ofDisk, _ := parseChangeID(own); !known || uuid != ofDisk {
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
func joined(blocks []int64, capacity int64) []extent {
	var extents []extent
	for _, block := range blocks {
		at := block * trackingBlockBytes
		if at >= capacity {
			break // the disk has shrunk
		}
		length := min(trackingBlockBytes, capacity-at)
		if last := len(extents) - 1; last >= 0 && extents[last].end() == at {
			extents[last].length += length
			continue
		}
		extents = append(extents, extent{at, length})
	}
	return extents
}

// digests reads every block of a disk that holds data.
func digests(ctx context.Context, file *os.File, capacity int64) (generation, error) {
	data, err := dataExtents(file, capacity)
	if err != nil {
		return nil, err
	}
	now := make(generation)
	buffer := make([]byte, trackingBlockBytes)
	next := int64(0)
	for _, part := range data {
		for block := max(next, part.offset/trackingBlockBytes); block*trackingBlockBytes < part.end(); block++ {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			at := block * trackingBlockBytes
			piece := buffer[:min(trackingBlockBytes, capacity-at)]
			if err := readAt(file, piece, at); err != nil {
				return nil, err
			}
			if !isZero(piece) {
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

func isZero(p []byte) bool {
	for len(p) > len(zeroes) {
		if !bytes.Equal(p[:len(zeroes)], zeroes[:]) {
			return false
		}
		p = p[len(zeroes):]
	}
	return bytes.Equal(p, zeroes[:len(p)])
}

// parseChangeID splits "<uuid>/<number>" as SBC does; ok is false for an id it
// calls invalid.
func parseChangeID(id string) (uuid string, ok bool) {
	parts := strings.Split(id, "/")
	if len(parts) != 2 {
		return "", false
	}
	return parts[0], true
}
