// Package query answers questions about the records of a database: single records, lists, pages, counts, and which restore
// points are damaged because they are based on a damaged one. It never writes.
package query

import (
	"sync/atomic"

	"github.com/sendense/backup-agent/agent/store/dbfile"
)

// A Reader answers questions about the records of a database. Its methods may be called from any goroutine and change nothing.
type Reader struct {
	file    *dbfile.File
	damages atomic.Pointer[Damage] // the last one computed
}

// NewReader returns the Reader of an open file.
func NewReader(f *dbfile.File) *Reader { return &Reader{file: f} }
