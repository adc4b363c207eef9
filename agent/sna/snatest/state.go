package snatest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// State is all that can be seen of a simulator.
type State struct {
	// Posts are all POSTs of a start, refused and unreadable ones too, in order.
	Posts []Post `json:"posts"`
	// PostsPerJob counts them by job id; more than 1 is what must never be.
	PostsPerJob map[string]int `json:"posts_per_job"`
	// Runs are all SBCs ever forked, in order.
	Runs      []RunState      `json:"runs"`
	Snapshots []SnapshotState `json:"snapshots"` // that exist now
	Faults    []string        `json:"faults"`
	Held      []string        `json:"held"` // points at which runs stop
}

// Post is one POST of a start.
type Post struct {
	At    time.Time `json:"at"`
	JobID string    `json:"job_id"`
	// Body is as received, except that a password reads "[masked]"; nil when it
	// was no JSON object.
	Body   map[string]any `json:"body"`
	Answer string         `json:"answer"` // "" while there is none
	PID    int            `json:"pid"`    // 0 when no SBC was forked
}

// RunState is one SBC.
type RunState struct {
	JobID  string `json:"job_id"`
	VM     string `json:"vm"`
	PID    int    `json:"pid"`
	Phase  string `json:"phase"`
	HeldAt string `json:"held_at,omitempty"` // the point it waits at
	Done   bool   `json:"done"`
	Killed bool   `json:"killed,omitempty"`
	// Terminated runs got a SIGTERM, which may leave the snapshot.
	Terminated bool   `json:"terminated,omitempty"`
	Error      string `json:"error,omitempty"`
	Snapshot   string `json:"snapshot,omitempty"` // its name, once taken
	// Connections are the NBD connections ever made, OpenConnections those open.
	Connections     int         `json:"connections"`
	OpenConnections int         `json:"open_connections"`
	Telemetry       int         `json:"telemetry"` // reports delivered
	Disks           []DiskState `json:"disks"`
}

// DiskState is one disk of a run.
type DiskState struct {
	Position     int    `json:"position"`
	Key          int    `json:"key"`
	Export       string `json:"export,omitempty"`
	Mode         string `json:"mode,omitempty"` // "full" or "incremental", once copied
	BytesWritten int64  `json:"bytes_written"`
	BytesZeroed  int64  `json:"bytes_zeroed"`
	// SourceBytes were read from the snapshot, samples and retries included.
	SourceBytes   int64  `json:"source_bytes"`
	ZeroesRefused int    `json:"zeroes_refused"` // write-zeroes that failed
	Retries       int    `json:"retries"`        // of pieces
	Connections   int    `json:"connections"`
	ChangeID      string `json:"change_id"`
	ReportedID    int    `json:"reported_id"`       // of the last report
	Reports       []int  `json:"reports,omitempty"` // the SHA's statuses
}

// SnapshotState is one snapshot.
type SnapshotState struct {
	Name  string `json:"name"`
	VM    string `json:"vm"`
	JobID string `json:"job_id"`
}

// State returns a copy of all that can be seen.
func (s *Server) State() State {
	state, _ := s.look()
	return state
}

func (s *Server) look() (State, <-chan struct{}) {
	state := State{PostsPerJob: map[string]int{}, Runs: []RunState{}}
	state.Snapshots, state.Held = s.snapshots.states(), s.holds.points()
	s.mu.Lock()
	defer s.mu.Unlock()
	state.Posts = slices.AppendSeq([]Post{}, slices.Values(s.posts))
	for _, post := range s.posts {
		state.PostsPerJob[post.JobID]++
	}
	for _, run := range s.runs {
		one := *run.state
		one.Disks = slices.Clone(one.Disks)
		for i := range one.Disks {
			one.Disks[i].Reports = slices.Clone(one.Disks[i].Reports)
		}
		state.Runs = append(state.Runs, one)
	}
	state.Faults = s.faults.Specs()
	return state, s.changed
}

// Run returns the last run of a job.
func (state State) Run(jobID string) (RunState, bool) {
	for _, run := range slices.Backward(state.Runs) {
		if run.JobID == jobID {
			return run, true
		}
	}
	return RunState{}, false
}

// WaitRun waits until the last run of a job has ended, and returns it.
func (s *Server) WaitRun(ctx context.Context, jobID string) (RunState, error) {
	return s.waitRun(ctx, "end", jobID, func(run RunState) bool { return run.Done })
}

// WaitSnapshot waits until the last run of a job has taken its snapshot: what is
// written to the sources from then on is not in the backup.
func (s *Server) WaitSnapshot(ctx context.Context, jobID string) (RunState, error) {
	return s.waitRun(ctx, "snapshot", jobID, func(run RunState) bool { return run.Snapshot != "" })
}

// WaitHeld waits until the last run of a job has stopped at a held point.
func (s *Server) WaitHeld(ctx context.Context, jobID, point string) (RunState, error) {
	return s.waitRun(ctx, point, jobID, func(run RunState) bool { return run.HeldAt == point })
}

func (s *Server) waitRun(ctx context.Context, what, jobID string, done func(RunState) bool) (found RunState, err error) {
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

// notify needs the lock.
func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) currentFaults() Faults {
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
