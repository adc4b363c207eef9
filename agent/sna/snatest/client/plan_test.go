package client

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sendense/backup-agent/agent/sna/snatest/vcenter"
)

func extents(t *rapid.T, label string, size int64) []vcenter.Extent {
	var list []vcenter.Extent
	at := int64(0)
	for range rapid.IntRange(0, 6).Draw(t, label) {
		at += rapid.Int64Range(0, 5).Draw(t, "gap") * 512
		length := rapid.Int64Range(1, 9).Draw(t, "length") * 512
		if at+length > size {
			break
		}
		list = append(list, vcenter.Extent{Offset: at, Length: length})
		at += length
	}
	return list
}

// The pieces of a full copy cover the disk once, begin on sectors, and are as
// long as SBC's: 32 MiB from the start of each worker's third.
func TestAFullCopyCoversTheDisk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 1<<40).Draw(t, "size")
		limit := rapid.Int64Range(1, 64).Draw(t, "limit") * max(512, size/(200*512)*512)
		at := int64(0)
		for worker, part := range divide(size, fullWorkers) {
			if part.Offset != at || part.Offset%512 != 0 || worker < 2 && part.Length != size/3/512*512 {
				t.Fatalf("worker %d has %+v of %d", worker, part, size)
			}
			pieces := chunks(part, limit)
			for i, piece := range pieces {
				if piece.Offset != at || piece.Length <= 0 || piece.Length > limit || i < len(pieces)-1 && piece.Length != limit {
					t.Fatalf("piece %+v of %+v at %d", piece, part, at)
				}
				at = piece.End()
			}
		}
		if at != size {
			t.Fatalf("covers %d of %d", at, size)
		}
	})
}

// The third of a disk of 128 MiB begins within a cluster, as seen on the wire.
func TestNeighborsShareACluster(t *testing.T) {
	if got := divide(128<<20, fullWorkers)[1].Offset; got != 44739072 {
		t.Errorf("the second worker begins at %d", got)
	}
	if got := divide(1024, fullWorkers); got[0].Length != 0 || got[2] != (vcenter.Extent{Offset: 0, Length: 1024}) {
		t.Errorf("a disk of two sectors: %+v", got)
	}
}

func TestCoalesceFollowsSBC(t *testing.T) {
	const k, m = 1 << 10, 1 << 20
	for _, test := range []struct {
		name       string
		have, want []vcenter.Extent
	}{
		{"nothing", nil, nil},
		{"a gap of 1 MiB", []vcenter.Extent{{Offset: 0, Length: 64 * k}, {Offset: m + 64*k, Length: 64 * k}}, []vcenter.Extent{{Offset: 0, Length: m + 128*k}}},
		{"a gap of a sector more", []vcenter.Extent{{Offset: 0, Length: 64 * k}, {Offset: m + 64*k + 512, Length: 64 * k}}, []vcenter.Extent{{Offset: 0, Length: 64 * k}, {Offset: m + 64*k + 512, Length: 64 * k}}},
		{"32 MiB in all", []vcenter.Extent{{Offset: 0, Length: 16 * m}, {Offset: 16 * m, Length: 16 * m}}, []vcenter.Extent{{Offset: 0, Length: 32 * m}}},
		{"more than 32 MiB in all", []vcenter.Extent{{Offset: 0, Length: 16 * m}, {Offset: 16*m + 512, Length: 16 * m}}, []vcenter.Extent{{Offset: 0, Length: 16 * m}, {Offset: 16*m + 512, Length: 16 * m}}},
		{"one that is longer stays", []vcenter.Extent{{Offset: 0, Length: 100 * m}}, []vcenter.Extent{{Offset: 0, Length: 100 * m}}},
	} {
		if got := coalesce(test.have, maxGap, MaxRequestBytes); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// Changes are copied once, and besides them only gaps.
func TestCoalesceCoversWhatChanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 64 * 512
		changed := extents(t, "changed", size)
		covers := make([]int, size)
		merged := coalesce(changed, rapid.Int64Range(0, 4).Draw(t, "gap")*512, rapid.Int64Range(1, 20).Draw(t, "limit")*512)
		for _, share := range deal(merged, incrementalWorkers(len(merged))) {
			for _, one := range share {
				for i := one.Offset; i < one.End(); i++ {
					covers[i]++
				}
			}
		}
		for i := range int64(size) {
			if covers[i] > 1 || within(changed, i) && covers[i] == 0 {
				t.Fatalf("byte %d is copied %d times", i, covers[i])
			}
		}
	})
}

func TestWorkersOfAnIncremental(t *testing.T) {
	for extents, want := range map[int]int{1: 1, 9: 1, 10: 2, 49: 2, 50: 3, 199: 3, 200: 4, 10000: 4} {
		if got := incrementalWorkers(extents); got != want {
			t.Errorf("%d extents: %d workers instead of %d", extents, got, want)
		}
	}
}

// The two halves of a copy are all of it, and none is empty if possible.
func TestHalves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var shares [][]vcenter.Extent
		total := 0
		for range rapid.IntRange(1, 4).Draw(t, "workers") {
			share := extents(t, "share", 64*512)
			total += len(share)
			shares = append(shares, share)
		}
		first, second := halves(bisect(slices.Clone(shares)))
		before, after := slices.Concat(first...), slices.Concat(second...)
		if total > 1 && (len(before) != (total+1)/2 || len(after) != total/2) {
			t.Fatalf("%d and %d of %d", len(before), len(after), total)
		}
		if total == 1 && len(before) != len(after) && before[0].Length >= 1024 {
			t.Fatalf("one piece becomes %v and %v", before, after)
		}
		if length(before)+length(after) != length(slices.Concat(shares...)) {
			t.Fatalf("%v and %v of %v", first, second, shares)
		}
	})
}

func length(pieces []vcenter.Extent) (sum int64) {
	for _, piece := range pieces {
		sum += piece.Length
	}
	return sum
}

func within(list []vcenter.Extent, at int64) bool {
	for _, one := range list {
		if at >= one.Offset && at < one.End() {
			return true
		}
	}
	return false
}

func TestDiskIndex(t *testing.T) {
	for _, test := range []struct {
		job, export string
		want        int
	}{
		{"backup-pgtest1-1760000000", "", 0},
		{"backup-pgtest1-1760000000", "pgtest1-disk12", 12},
		{"backup-pgtest1-1760000000", "pgtest1-disk12x", 0},
		{"backup-x-disk2-y-1", "pgtest1-disk12", 2},
		{"backup-x-disk99999999999999999999-1", "a-disk1", 1},
	} {
		if got := diskIndex(test.job, test.export); got != test.want {
			t.Errorf("%s %s: %d instead of %d", test.job, test.export, got, test.want)
		}
	}
}
