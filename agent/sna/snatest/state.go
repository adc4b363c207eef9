package snatest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest/client"
	"github.com/sendense/backup-agent/agent/sna/snatest/fault"
	"github.com/sendense/backup-agent/agent/sna/snatest/vcenter"
)

// State is all that can be seen of a simulator.
type State struct {
	// Posts are all POSTs of a start, refused and unreadable ones too, in order.
	Posts []Post `json:"posts"`
	// PostsPerJob counts them by job id; more than 1 must never happen.
	PostsPerJob map[string]int `json:"posts_per_job"`
	// Runs are all SBCs that were forked, in order.
	Runs      []client.RunState       `json:"runs"`
	Snapshots []vcenter.SnapshotState `json:"snapshots"` // that exist now
	Faults    []string                `json:"faults"`
	Held      []string                `json:"held"` // points at which runs stop
}

// Post is one POST of a start.
type Post struct {
	At    time.Time `json:"at"`
	JobID string    `json:"job_id"`
	// Body is as received, with the password replaced by "[masked]"; nil if it was
	// not a JSON object.
	Body   map[string]any `json:"body"`
	Answer string         `json:"answer"` // "" while there is none
	PID    int            `json:"pid"`    // 0 when no SBC was forked
}

// State returns a copy of all that can be seen.
func (s *Server) State() State {
	state, _ := s.look()
	return state
}

func (s *Server) look() (State, <-chan struct{}) {
	state := State{PostsPerJob: map[string]int{}, Runs: []client.RunState{}}
	state.Snapshots, state.Held = s.vcenter.Snapshots(), s.holds.Held()
	s.mu.Lock()
	defer s.mu.Unlock()
	state.Posts = slices.AppendSeq([]Post{}, slices.Values(s.posts))
	for _, post := range s.posts {
		state.PostsPerJob[post.JobID]++
	}
	for _, run := range s.runs {
		state.Runs = append(state.Runs, run.State())
	}
	state.Faults = s.faults.Specs()
	return state, s.changed
}

// Run returns the last run of a job.
func (state State) Run(jobID string) (client.RunState, bool) {
	for _, run := range slices.Backward(state.Runs) {
		if run.JobID == jobID {
			return run, true
		}
	}
	return client.RunState{}, false
}

// WaitRun waits until the last run of a job has ended, and returns it.
func (s *Server) WaitRun(ctx context.Context, jobID string) (client.RunState, error) {
	return s.waitRun(ctx, "end", jobID, func(run client.RunState) bool { return run.Done })
}

// WaitSnapshot waits until the last run of a job has taken its snapshot: what is
// written to the sources from then on is not in the backup.
func (s *Server) WaitSnapshot(ctx context.Context, jobID string) (client.RunState, error) {
	return s.waitRun(ctx, "snapshot", jobID, func(run client.RunState) bool { return run.Snapshot != "" })
}

// WaitHeld waits until the last run of a job has stopped at a held point.
func (s *Server) WaitHeld(ctx context.Context, jobID, point string) (client.RunState, error) {
	return s.waitRun(ctx, point, jobID, func(run client.RunState) bool { return run.HeldAt == point })
}

func (s *Server) waitRun(ctx context.Context, what, jobID string, done func(client.RunState) bool) (found client.RunState, err error) {
	err = s.wait(ctx, fmt.Sprintf("%s of job %s", what, jobID), func(state State) bool {
		run, known := state.Run(jobID)
		found = run
		return known && done(run)
	})
	return found, err
}

func (s *Server) wait(ctx context.Context, what string, done func(State) bool) error {
	for {
		state, changed := s.look()
		if done(state) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		}
	}
}

// changedState wakes all that wait for a state.
func (s *Server) changedState() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notify()
}

// notify needs the lock.
func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) currentFaults() fault.Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

// notedPost is a POST in the list.
type notedPost struct {
	server *Server
	at     int
}

func (s *Server) notePost(raw []byte) *notedPost {
	post := Post{At: time.Now()}
	if json.Unmarshal(raw, &post.Body) == nil {
		post.JobID, _ = post.Body["job_id"].(string)
		if _, has := post.Body["vcenter_password"]; has {
			post.Body["vcenter_password"] = "[masked]"
		}
	} else {
		post.Body = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts = append(s.posts, post)
	s.notify()
	return &notedPost{s, len(s.posts) - 1}
}

func (p *notedPost) answered(answer string, pid int) {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.server.posts[p.at].Answer, p.server.posts[p.at].PID = answer, pid
	p.server.notify()
}
