package client

import (
	"github.com/sendense/backup-agent/agent/sna/snatest/vcenter"
)

// What SBC copies, in which pieces, by which worker: the pure part, after parallel_full_copy.go, parallel_incremental.go and
// extent_utils.go.

const (
	fullWorkers = 3       // determineWorkerCount(100)
	maxGap      = 1 << 20 // CoalesceGapThreshold
	sectorBytes = 512     // to which the shares of the workers are aligned
)

// divide cuts a disk into one part for each worker. The last one gets the rest, or all
// of a disk with less than a sector for each.
func divide(size int64, workers int) []vcenter.Extent {
	parts := make([]vcenter.Extent, workers)
	each := size / int64(workers) / sectorBytes * sectorBytes
	for i := range parts {
		parts[i] = vcenter.Extent{Offset: int64(i) * each, Length: each}
	}
	parts[workers-1].Length = size - parts[workers-1].Offset
	return parts
}

// chunks cuts a part into pieces of at most limit bytes, from its start.
func chunks(part vcenter.Extent, limit int64) []vcenter.Extent {
	var pieces []vcenter.Extent
	for at := part.Offset; at < part.End(); at += limit {
		pieces = append(pieces, vcenter.Extent{Offset: at, Length: min(limit, part.End()-at)})
	}
	return pieces
}

// coalesce joins extents that are at most gap bytes apart, including what is between
// them, as long as the result is not longer than limit.
func coalesce(extents []vcenter.Extent, gap, limit int64) []vcenter.Extent {
	var merged []vcenter.Extent
	for _, one := range extents {
		if last := len(merged) - 1; last >= 0 {
			before := merged[last]
			if one.Offset-before.End() <= gap && one.End()-before.Offset <= limit {
				merged[last].Length = one.End() - before.Offset
				continue
			}
		}
		merged = append(merged, one)
	}
	return merged
}

// incrementalWorkers is determineWorkerCount.
func incrementalWorkers(extents int) int {
	switch {
	case extents < 10:
		return 1
	case extents < 50:
		return 2
	case extents < 200:
		return 3
	}
	return 4
}

// deal gives the extents to the workers in turn.
func deal(extents []vcenter.Extent, workers int) [][]vcenter.Extent {
	shares := make([][]vcenter.Extent, workers)
	for i, one := range extents {
		shares[i%workers] = append(shares[i%workers], one)
	}
	return shares
}

// halves cuts every share so that about half of all pieces, and at least one, are in
// the first part. The point copy/N is between them.
func halves(shares [][]vcenter.Extent) (first, second [][]vcenter.Extent) {
	total := 0
	for _, share := range shares {
		total += len(share)
	}
	taken := make([]int, len(shares))
	for left, round := (total+1)/2, 0; left > 0; round++ {
		for i, share := range shares {
			if left > 0 && round < len(share) {
				taken[i]++
				left--
			}
		}
	}
	for i, share := range shares {
		first = append(first, share[:taken[i]])
		second = append(second, share[taken[i]:])
	}
	return first, second
}

// bisect cuts the only piece of a plan in two, so that a run can be stopped half way.
// It does not change a plan with more pieces, nor a piece of one sector.
func bisect(shares [][]vcenter.Extent) [][]vcenter.Extent {
	at, pieces := 0, 0
	for i, share := range shares {
		if len(share) > 0 {
			at, pieces = i, pieces+len(share)
		}
	}
	if pieces != 1 || shares[at][0].Length < 2*sectorBytes {
		return shares
	}
	one := shares[at][0]
	half := one.Length / 2 / sectorBytes * sectorBytes
	shares[at] = []vcenter.Extent{{Offset: one.Offset, Length: half}, {Offset: one.Offset + half, Length: one.Length - half}}
	return shares
}
