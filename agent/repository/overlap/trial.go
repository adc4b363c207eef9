package overlap

import (
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// trialPrefix begins the name of a trial file, which shows whether two directories are one. Its dot keeps it out of the catalog.
const trialPrefix = ".same-"

// Twins says whether two directories of different file systems are one all the same, as an NFS export that is mounted twice
// (nosharecache). Inodes are no proof: a replica on ZFS and a snapshot of a volume have those of the original. So if both have an
// entry with the same name and inode, a file is made in one and looked for in the other. If that cannot be done, they count as
// different.
func Twins(a, b string) bool {
	one, err := bounded(a+"\x00"+b, "cannot be compared", func() (bool, error) {
		return alike(a, b) && tried(a, b), nil
	})
	return err == nil && one
}

// alike says whether an entry has the same name and the same inode in both.
func alike(a, b string) bool {
	entries, err := os.ReadDir(a)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), trialPrefix) {
			removeStale(filepath.Join(a, e.Name()))
			continue
		}
		in, errA := os.Lstat(filepath.Join(a, e.Name()))
		other, errB := os.Lstat(filepath.Join(b, e.Name()))
		if errA == nil && errB == nil {
			return numberOf(in) == numberOf(other)
		}
	}
	return false
}

// removeStale removes what a trial has left because of a crash.
func removeStale(path string) {
	if info, err := os.Lstat(path); err == nil && info.Size() == 0 && time.Since(info.ModTime()) > time.Minute {
		_ = os.Remove(path)
	}
}

func tried(a, b string) bool {
	name := trialPrefix + strings.ToLower(rand.Text())
	f, err := os.OpenFile(filepath.Join(a, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false
	}
	defer os.Remove(f.Name())
	_ = f.Close()
	_, err = os.Lstat(filepath.Join(b, name))
	return err == nil
}

func numberOf(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }
