// Package query answers questions about the records of a database: one, all of a kind, pages, counts, and which restore points are
// damaged because a restore point that they are based on is. It never writes.
package query

import (
	"sync/atomic"

	"github.com/sendense/backup-agent/agent/store/dbfile"
)

// A Reader answers questions about the records of a database. Its methods may be called from any goroutine, and none changes anything.
type Reader struct {
	file    *dbfile.File
	damages atomic.Pointer[Damage] // as it was when somebody last asked
}

// NewReader returns the Reader of an open file.
func NewReader(f *dbfile.File) *Reader { return &Reader{file: f} }
