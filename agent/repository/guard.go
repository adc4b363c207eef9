package repository

import (
	"fmt"
	"os"

	"github.com/sendense/backup-agent/agent/repository/overlap"
	"github.com/sendense/backup-agent/agent/repository/rooted"
)

// Place is the directory of the repository, with a name for people.
func (r *tree) Place() overlap.Place {
	return overlap.Place{Name: fmt.Sprintf("repository %q", r.ID), Path: r.Path}
}

// A Guard refuses a directory that is not, or may not be, the repository's own.
type Guard interface {
	Check(own overlap.Place, dir *os.File) error
}

// Guard sets what checks the directory at each use of the repository. Call it before any other method.
func (r *Repository) Guard(g Guard) { r.guard = g }

// checkApart lets the guard look at the open repository.
func (r *tree) checkApart(root *os.Root) error {
	if r.guard == nil {
		return nil
	}
	return rooted.Self(root, func(dir *os.File) error { return r.guard.Check(r.Place(), dir) })
}
