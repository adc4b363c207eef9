package snatest

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// extent is a part of a disk, in bytes.
type extent struct{ offset, length int64 }

func (e extent) end() int64 { return e.offset + e.length }

// dataExtents are the parts of [0, capacity) that the file system holds data
// for, in order. A file system that cannot tell has one, the whole file.
func dataExtents(file *os.File, capacity int64) ([]extent, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	size = min(size, capacity)
	var found []extent
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || start >= size && err == nil {
			break
		}
		if errors.Is(err, unix.EINVAL) {
			return []extent{{0, size}}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("seek data: %w", err)
		}
		end, err := unix.Seek(int(file.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("seek hole: %w", err)
		}
		end = min(end, size)
		found = append(found, extent{start, end - start})
		at = end
	}
	return found, nil
}

// request is one NBD request: a write, or a write-zeroes for a hole.
type request struct {
	extent
	hole bool
}

// plan cuts the wanted parts of a disk into requests of at most limit bytes, each
// all data or all hole. Both lists are in order and free of overlaps.
func plan(wanted, data []extent, limit int64) []request {
	var requests []request
	add := func(from, to int64, hole bool) {
		for ; from < to; from += limit {
			requests = append(requests, request{extent{from, min(limit, to-from)}, hole})
		}
	}
	for _, part := range wanted {
		at := part.offset
		for len(data) > 0 && data[0].end() <= at {
			data = data[1:]
		}
		for _, d := range data {
			if d.offset >= part.end() {
				break
			}
			from, to := max(d.offset, at), min(d.end(), part.end())
			add(at, from, true)
			add(from, to, false)
			at = to
		}
		add(at, part.end(), true)
	}
	return requests
}

// halves cuts a plan in two of about the same length, so that a run can be
// stopped when half a disk is written and no request is under way. A single
// request is cut as well.
func halves(requests []request) (first, second []request) {
	if len(requests) == 1 && requests[0].length >= 2*512 {
		one := requests[0]
		half := one.length / 2 &^ 511
		return []request{{extent{one.offset, half}, one.hole}},
			[]request{{extent{one.offset + half, one.length - half}, one.hole}}
	}
	return requests[:len(requests)/2], requests[len(requests)/2:]
}
