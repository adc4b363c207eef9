package snatest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func extents(t *rapid.T, label string, size int64) []extent {
	var list []extent
	at := int64(0)
	for range rapid.IntRange(0, 6).Draw(t, label) {
		at += rapid.Int64Range(0, 5).Draw(t, "gap") * 512
		length := rapid.Int64Range(1, 9).Draw(t, "length") * 512
		if at+length > size {
			break
		}
		list = append(list, extent{at, length})
		at += length
	}
	return list
}

// A plan covers what is wanted, once, in order, and nothing else; a request is a
// hole exactly where there is no data.
func TestPlanCoversWhatIsWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 64 * 512
		wanted, data := extents(t, "wanted", size), extents(t, "data", size)
		limit := rapid.Int64Range(1, 8).Draw(t, "limit") * 512
		covers, holes := make([]int, size), make([]bool, size)
		at := int64(0)
		requests := plan(wanted, data, limit)
		first, second := halves(requests)
		for _, one := range append(append([]request{}, first...), second...) {
			if one.length <= 0 || one.length > limit || one.offset < at {
				t.Fatalf("request %+v after %d", one, at)
			}
			at = one.end()
			for i := one.offset; i < one.end(); i++ {
				covers[i]++
				holes[i] = one.hole
			}
		}
		for i := range int64(size) {
			if want := within(wanted, i); (covers[i] == 1) != want || covers[i] > 1 || want && holes[i] == within(data, i) {
				t.Fatalf("byte %d: covered %d times, hole %v", i, covers[i], holes[i])
			}
		}
	})
}

func within(list []extent, at int64) bool {
	for _, one := range list {
		if at >= one.offset && at < one.end() {
			return true
		}
	}
	return false
}

// What changed since a change id, written over the old content, is the new.
func TestChangesMakeTheOldTheNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		size := rapid.Int64Range(1, 2000).Draw(t, "sectors") * 512
		before := make([]byte, size)
		after := make([]byte, size)
		for i := range size / 4096 {
			before[i*4096] = byte(rapid.IntRange(0, 1).Draw(t, "before"))
			after[i*4096] = byte(rapid.IntRange(0, 1).Draw(t, "after"))
		}
		var c changes
		c.remember("id/1", digestOf(t, dir, before))
		changed, err := c.since("id/1", digestOf(t, dir, after), size)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range changed {
			copy(before[part.offset:part.end()], after[part.offset:part.end()])
		}
		if !bytes.Equal(before, after) {
			t.Fatal("differs")
		}
	})
}

func digestOf(t *rapid.T, dir string, content []byte) generation {
	path := filepath.Join(dir, "disk")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	now, err := digests(t.Context(), file, int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return now
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
