package admission

import (
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// A Gate says whether something new may start in a repository: not while it is paused, and not while it does not answer. What runs there
// is not its matter.
type Gate struct {
	Store *store.Store

	// Stuck says since when a repository does not answer. nil: every repository answers.
	Stuck func(repositoryID string) (since time.Time, stuck bool)
}

// A ClosedError says why nothing new starts in a repository.
type ClosedError struct {
	Repository string
	Stuck      bool // it does not answer; otherwise it is paused
	Since      time.Time
	Reason     string // of a pause; may be empty
}

func (e *ClosedError) Error() string {
	since := e.Since.Local().Format(time.RFC3339)
	if e.Stuck {
		return fmt.Sprintf("repository %s does not answer since %s", e.Repository, since)
	}
	text := fmt.Sprintf("repository %s is paused since %s", e.Repository, since)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// Closed returns why nothing new starts in a repository; nil if it is open. That it does not answer counts first.
func (g *Gate) Closed(repository string) (*ClosedError, error) {
	if since, stuck := g.StuckSince(repository); stuck {
		return &ClosedError{Repository: repository, Stuck: true, Since: since}, nil
	}
	p, paused, err := g.Store.PauseOf(repository)
	if err != nil || !paused {
		return nil, fault.From(err).OrNil()
	}
	return closedBy(p), nil
}

func closedBy(p record.Pause) *ClosedError {
	return &ClosedError{Repository: p.Repository, Since: p.Since, Reason: p.Reason}
}

// StuckSince says since when a repository does not answer, and whether that is so.
func (g *Gate) StuckSince(repository string) (since time.Time, stuck bool) {
	if g.Stuck == nil {
		return time.Time{}, false
	}
	return g.Stuck(repository)
}

// Check fails while a repository is closed: with reason RepositoryPaused, or RepositoryStuck if it does not answer.
func (g *Gate) Check(repository string) error {
	closed, err := g.Closed(repository)
	if err != nil || closed == nil {
		return err
	}
	return closed.fault()
}

func (e *ClosedError) fault() *fault.Error {
	if e.Stuck {
		return fault.New(fault.RepositoryStuck, "%w", e).
			WithHint("nothing new starts there until it answers: check its mount, its server and the network. Other repositories are not affected")
	}
	return fault.New(fault.RepositoryPaused, "%w", e).
		WithHint("nothing new starts there: wait, or end the maintenance with 'sendensectl repository resume " + e.Repository + "'. A backup can be queued meanwhile")
}

// IsClosed reports whether an error says that a repository is closed.
func IsClosed(err error) bool {
	var closed *ClosedError
	return errors.As(err, &closed)
}
