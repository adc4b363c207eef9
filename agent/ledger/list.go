package ledger

import (
	"errors"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// ListQuery selects backups, the newest first by their dates. Limit is 1 to 1000; 0 = 100.
type ListQuery = store.Query

// Sizes of a page of a list.
const (
	defaultPage = 100
	maxPage     = 1000
)

// PageSize returns the size of a page for a requested limit of 1 to 1000; 0 = 100. Any other limit fails with reason InvalidRequest.
func PageSize(limit int) (int, error) {
	switch {
	case limit == 0:
		return defaultPage, nil
	case limit < 0 || limit > maxPage:
		return 0, fault.New(fault.InvalidRequest, "limit %d: want 1 to %d", limit, maxPage)
	}
	return limit, nil
}

// List lists records, the newest first. next is the cursor of the following page; "" at the end. If the query selects a repository, a
// page may be short although another one follows. A bad cursor, time or limit fails with reason InvalidRequest.
func (l *Ledger) List(q ListQuery) (list []record.Backup, next string, err error) {
	if q.Limit, err = PageSize(q.Limit); err != nil {
		return nil, "", err
	}
	list, next, err = l.Store.Backups(q)
	if errors.Is(err, store.ErrBadCursor) || errors.Is(err, store.ErrBadTime) {
		return nil, "", fault.New(fault.InvalidRequest, "%w", err)
	}
	return list, next, NotFound(err)
}
