// Package rawdisk makes the disks that are backed up, as raw files: random, sparse, changed in many places. It copies none.
package rawdisk

import (
	"crypto/rand"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Block is the unit of random data, zeroes and holes.
const Block = 1 << 20

// Kinds of data. In "half zeroes" the blocks without random data are written zeroes, in "sparse" they are holes.
var Kinds = []string{"random", "half zeroes", "sparse"}

// Parts: one of so many blocks of a kind is random.
var Parts = map[string]int64{"random": 1, "half zeroes": 2, "sparse": 8}

// WriteSource makes a raw disk of a kind.
func WriteSource(path, kind string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, zeroes := make([]byte, Block), make([]byte, Block)
	for at := int64(0); at < size; at += Block {
		random := at/Block%Parts[kind] == 0
		switch {
		case !random && kind == "sparse":
			continue
		case !random:
			_, err = f.WriteAt(zeroes, at)
		default:
			_, _ = rand.Read(data)
			_, err = f.WriteAt(data, at)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(f.Truncate(size), f.Sync())
}

// Allocated is how many bytes a file takes on the disk.
func Allocated(path string) (int64, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return st.Blocks * 512, err
}

// Sparse makes a disk without data.
func Sparse(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}
