package qemu

import (
	"bytes"
	"context"
	"encoding/json"
)

// mergedBlock is the unit in which Merge copies, in bytes.
const mergedBlock = 64 << 10

// luksHeader is what the header of an encrypted image takes on the disk, in bytes: LUKS 1 with eight slots.
const luksHeader = 2 << 20

// MergedBytes estimates how much space the image takes that Merge would make of layers with these tools, in bytes, with clusters of 64 KiB.
// It reads their tables, and no data: so
// it counts blocks that the layers hold with the same data as the base, or with zeroes as data, and Merge leaves them out.
func (t Tools) MergedBytes(ctx context.Context, layers, base []Layer) (int64, error) {
	c := call{verb: "map", path: layers[0].Path, limits: comparing()}
	defer c.close()
	all := append(layers[:len(layers):len(layers)], base...)
	if err := t.mayRead(&c, all...); err != nil {
		return 0, err
	}
	name, err := chainNode(c.nodes(all)).name()
	if err != nil {
		return 0, err
	}
	counted := &dataBlocks{layers: len(layers), last: -1, lastTable: -1}
	c.stdout = counted
	if _, err := t.run(ctx, c, "--output=json", name); err != nil {
		return 0, err
	}
	const fixed = 3 // clusters: the header, and the first of the refcounts
	total := (counted.blocks + counted.tables + fixed) * mergedBlock
	if !t.Key.IsZero() {
		total += luksHeader
	}
	return total, counted.err
}

// dataBlocks reads the output of qemu-img map and counts the blocks that have data in the first so many layers.
type dataBlocks struct {
	layers          int
	last, lastTable int64 // that was counted; -1 for none
	blocks, tables  int64
	line            []byte
	err             error
}

// An extent is one line of qemu-img map --output=json.
type extent struct {
	Start, Length int64
	Depth         int
	Zero, Data    bool
}

func (d *dataBlocks) Write(b []byte) (int, error) {
	for rest := b; ; {
		line, after, found := bytes.Cut(rest, []byte("\n"))
		d.line = append(d.line, line...)
		if !found {
			return len(b), nil
		}
		d.add(bytes.Trim(d.line, "[], \t\r"))
		d.line, rest = d.line[:0], after
	}
}

func (d *dataBlocks) add(line []byte) {
	var e extent
	if len(line) == 0 || d.err != nil {
		return
	}
	if d.err = json.Unmarshal(line, &e); d.err != nil || e.Depth >= d.layers || !e.Data || e.Zero || e.Length <= 0 {
		return
	}
	const table = 8192 // blocks for which an L2 table has entries
	from, to := e.Start/mergedBlock, (e.Start+e.Length-1)/mergedBlock
	d.blocks += to - max(from, d.last+1) + 1
	d.tables += to/table - max(from/table, d.lastTable+1) + 1
	d.last, d.lastTable = to, to/table
}
