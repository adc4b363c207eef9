package repository

import (
	"fmt"
	"os"

	"github.com/sendense/backup-agent/agent/repository/overlap"
)

// Place is the directory of the repository, with a name for people.
func (r *Repository) Place() overlap.Place {
	return overlap.Place{Name: fmt.Sprintf("repository %q", r.ID), Path: r.Path}
}

// KeepApart makes repositories check before they are used that they and some other directories are different, and that none lies
// inside another.
func KeepApart(list []*Repository, others ...overlap.Place) {
	places := make([]overlap.Place, len(list))
	for i, r := range list {
		places[i] = r.Place()
	}
	guard := overlap.NewGuard(places, others)
	for _, r := range list {
		r.guard = guard
	}
}

// checkApart compares an open repository with the others.
func (r *Repository) checkApart(root *os.Root) error {
	if r.guard == nil {
		return nil
	}
	return self(root, func(dir *os.File) error { return r.guard.Check(r.Place(), dir) })
}
