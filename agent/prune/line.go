package prune

import (
	"context"
	"errors"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/store"
)

// A Part is what a prune did in one repository.
type Part struct {
	Repository string
	Failure    *fault.Error // why the policies were not applied to all of it, or not yet: it is paused, or does not answer; nil = they were
}

// A line applies the policies in one repository, one VM after the other. The lines of the repositories run side by side, so that one that
// hangs delays no other.
type line struct {
	service    *Service
	repository string
	groups     []store.PointGroup
	request    Request
	release    func()      // of its claim
	done       chan Report // has the report at the end, with one Part
}

// lines returns the lines of a request. A request for a VM has those of the repositories that hold restore points of the VM.
func (s *Service) lines(groups []store.PointGroup, r Request) (list []*line) {
	for _, repo := range s.Repositories.All {
		l := &line{service: s, repository: repo.ID, request: r, release: func() {}, done: make(chan Report, 1)}
		for _, g := range groups {
			if g.Repository == repo.ID {
				l.groups = append(l.groups, g)
			}
		}
		if r.VMName == "" && (r.Repository == "" || r.Repository == repo.ID) || len(l.groups) > 0 {
			list = append(list, l)
		}
	}
	return list
}

// runLines runs lines side by side and returns their reports. Another prune runs the busy ones.
func runLines(lines, busy []*line) (report Report) {
	for _, l := range lines {
		l.start()
	}
	for _, l := range lines {
		report.add(l.wait())
	}
	for _, l := range busy {
		report.add(l.failed(Report{}, pruneBusy("the policies are already being applied to repository %s", l.repository)))
	}
	return report
}

// start starts the line, or reports why it cannot.
func (l *line) start() {
	err := l.check()
	if err == nil {
		err = l.service.Jobs.Spawn(func() {
			defer l.release()
			l.done <- l.run(l.service.Jobs.Work)
		})
	}
	if err != nil {
		l.release()
		l.done <- l.failed(Report{}, err)
	}
}

// check fails if the repository is closed. A dry run changes nothing, so it may run in a paused one.
func (l *line) check() error {
	closed, err := l.service.Gate.Closed(l.repository)
	if err != nil || closed == nil || l.request.DryRun && !closed.Stuck {
		return err
	}
	return l.service.Gate.Check(l.repository)
}

func (l *line) failed(report Report, err error) Report {
	report.Parts = []Part{{Repository: l.repository, Failure: fault.From(err)}}
	return report
}

// stuckLook is how often wait looks whether the repository still answers.
const stuckLook = 200 * time.Millisecond

// wait returns the report of the line. If the repository stops answering, it does not wait for the end: the line ends by itself.
func (l *line) wait() Report {
	ticker := time.NewTicker(stuckLook)
	defer ticker.Stop()
	for {
		select {
		case report := <-l.done:
			return report
		case <-ticker.C:
		}
		if _, stuck := l.service.Gate.StuckSince(l.repository); stuck {
			if err := l.service.Gate.Check(l.repository); err != nil {
				return l.failed(Report{}, err)
			}
		}
	}
}

// run applies the policies in the repository, and counts what it did.
func (l *line) run(ctx context.Context) Report {
	start := time.Now()
	pruners, err := l.service.pruneAll(ctx, l)
	report := Report{Parts: []Part{{Repository: l.repository}}}
	postponed := 0
	for _, p := range pruners {
		if !l.request.DryRun && err == nil {
			p.postpone()
			postponed += p.postponed
		}
		p.tell(&report, l.request)
	}
	if err != nil {
		report = l.failed(report, err)
	}
	if l.request.DryRun {
		return report
	}
	l.service.Metrics.Pruned(report.Removed, report.Failed, report.FreedBytes, err)
	if err != nil {
		l.service.Log.Error("the policies could not be applied to the whole repository", logkey.Repository, l.repository, logkey.Error, err)
		return report
	}
	l.service.Log.Info("policies were applied", logkey.Repository, l.repository, "removed", report.Removed, "kept", report.Kept,
		"freed_bytes", report.FreedBytes, "failed", report.Failed, "held", len(report.Held), "postponed", postponed, "took", time.Since(start))
	if l.request.VMName == "" {
		if err := l.service.applied.note(l.service, l.repository, start); err != nil {
			return l.failed(report, err)
		}
	}
	return report
}

// add adds the report of one more line.
func (r *Report) add(more Report) {
	r.Parts = append(r.Parts, more.Parts...)
	r.Points = append(r.Points, more.Points...)
	r.Held = append(r.Held, more.Held...)
	r.Kept += more.Kept
	r.Removed += more.Removed
	r.Merged += more.Merged
	r.Failed += more.Failed
	r.FreedBytes += more.FreedBytes
}

// err is the error of a prune whose every part failed, if it was the same for all; nil if a part has something to report.
func (r Report) err() error {
	if len(r.Parts) == 0 {
		return nil
	}
	for _, p := range r.Parts {
		if p.Failure == nil || p.Failure.Reason != r.Parts[0].Failure.Reason {
			return nil
		}
	}
	first := r.Parts[0].Failure
	if errors.Is(first, job.ErrStopping) {
		return job.ErrClosed()
	}
	return first
}
