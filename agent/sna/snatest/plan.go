package snatest

// What SBC copies, in which pieces, and who of its workers copies which: the
// pure part, after parallel_full_copy.go, parallel_incremental.go and
// extent_utils.go.

const (
	fullWorkers = 3       // determineWorkerCount(100)
	maxGap      = 1 << 20 // CoalesceGapThreshold
	sectorBytes = 512     // to which the workers' shares are aligned, and to nothing more
)

// divide cuts a disk into one part for each worker. The last one gets the rest;
// of a disk of less than a sector for each, all of it.
func divide(size int64, workers int) []extent {
	parts := make([]extent, workers)
	each := size / int64(workers) / sectorBytes * sectorBytes
	for i := range parts {
		parts[i] = extent{int64(i) * each, each}
	}
	parts[workers-1].length = size - parts[workers-1].offset
	return parts
}

// chunks cuts a part into pieces of at most limit bytes, from its start.
func chunks(part extent, limit int64) []extent {
	var pieces []extent
	for at := part.offset; at < part.end(); at += limit {
		pieces = append(pieces, extent{at, min(limit, part.end()-at)})
	}
	return pieces
}

// coalesce merges extents that are at most gap bytes apart, and what is between
// them, as long as the whole is not longer than limit.
func coalesce(extents []extent, gap, limit int64) []extent {
	var merged []extent
	for _, one := range extents {
		if last := len(merged) - 1; last >= 0 {
			before := merged[last]
			if one.offset-before.end() <= gap && one.end()-before.offset <= limit {
				merged[last].length = one.end() - before.offset
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
func deal(extents []extent, workers int) [][]extent {
	shares := make([][]extent, workers)
	for i, one := range extents {
		shares[i%workers] = append(shares[i%workers], one)
	}
	return shares
}

// halves cuts every worker's share so that about half of all pieces are in the
// first part, and at least one is: the point copy/N is between them.
func halves(shares [][]extent) (first, second [][]extent) {
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

// bisect cuts the only piece of a plan in two, so that a run can be stopped half
// way through it. A plan with more pieces, and a piece of one sector, stay.
func bisect(shares [][]extent) [][]extent {
	at, pieces := 0, 0
	for i, share := range shares {
		if len(share) > 0 {
			at, pieces = i, pieces+len(share)
		}
	}
	if pieces != 1 || shares[at][0].length < 2*sectorBytes {
		return shares
	}
	one := shares[at][0]
	half := one.length / 2 / sectorBytes * sectorBytes
	shares[at] = []extent{{one.offset, half}, {one.offset + half, one.length - half}}
	return shares
}
