package rawdisk

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
)

const dataBlock = 64 << 10

// WriteRandom makes a disk of random data.
func WriteRandom(path string, size int64) (int64, error) {
	return size, WriteSource(path, "random", size)
}

// WriteRuns makes a disk with runs of data of 64 KiB to 4 MiB, evenly distributed by the logarithm of their length; about 3/8 of it is
// data. It is the same every time.
func WriteRuns(path string, size int64) (data int64, err error) {
	return writeBlocks(path, size, func(random *rand.Rand, write func(at, length int64) error) error {
		run := func(most float64) int64 { return dataBlock * int64(math.Exp(random.Float64()*math.Log(most))) }
		for at := run(100); at < size; {
			length := min(run(65), size-at)
			if err := write(at, length); err != nil {
				return err
			}
			at += length + run(140)
		}
		return nil
	})
}

// WriteBetween makes a disk that is zero at the five samples of every request.
func WriteBetween(path string, size int64) (int64, error) {
	return writeBlocks(path, size, func(random *rand.Rand, write func(at, length int64) error) error {
		for at := int64(2 << 20); at+dataBlock < size; at += 8 << 20 {
			if err := write(at+dataBlock*random.Int64N(16), dataBlock); err != nil {
				return err
			}
		}
		return nil
	})
}

func writeBlocks(path string, size int64, fill func(random *rand.Rand, write func(at, length int64) error) error) (data int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	random, content := rand.New(rand.NewPCG(1, 2)), rand.NewChaCha8([32]byte{1})
	err = fill(random, func(at, length int64) error {
		block := make([]byte, length)
		_, _ = content.Read(block)
		data += length
		_, err := f.WriteAt(block, at)
		return err
	})
	return data, errors.Join(err, f.Truncate(size), f.Sync())
}
