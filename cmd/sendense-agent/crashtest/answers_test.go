package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// answerLimit is how long the answer to any request may take, whatever hangs.
const answerLimit = 5 * time.Second

// busy is what a busy machine may add to a limit. What hangs is not answered by then either.
const busy = time.Minute

// answers are how long the answers to requests took, by request and phase of the test.
type answers struct {
	mu       sync.Mutex
	requests []string // in the order in which they came first
	phases   []string
	took     map[[2]string]time.Duration
}

func (a *answers) add(request, phase string, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.took == nil {
		a.took = map[[2]string]time.Duration{}
	}
	if !slices.Contains(a.requests, request) {
		a.requests = append(a.requests, request)
	}
	if !slices.Contains(a.phases, phase) {
		a.phases = append(a.phases, phase)
	}
	key := [2]string{request, phase}
	a.took[key] = max(a.took[key], took)
}

func (a *answers) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var text strings.Builder
	tab := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "SECONDS\t"+strings.Join(a.phases, "\t"))
	for _, request := range a.requests {
		cells := []string{request}
		for _, phase := range a.phases {
			if took, asked := a.took[[2]string{request, phase}]; asked {
				cells = append(cells, fmt.Sprintf("%.3f", took.Seconds()))
			} else {
				cells = append(cells, "-")
			}
		}
		fmt.Fprintln(tab, strings.Join(cells, "\t"))
	}
	_ = tab.Flush() // a strings.Builder does not fail
	return text.String()
}

// A question is a request whose answer must come in time. Reasons are those with which it may be refused.
type question struct {
	request string
	ask     func(ctx context.Context, client *rpc.Client) error
	reasons []rpc.Reason
}

// asks sends all questions at the same time, each on a connection of its own, and fails the test unless each is answered in time.
func (s *hungSteps) asks(phase string, list []question) {
	s.Helper()
	var all sync.WaitGroup
	for _, q := range list {
		all.Go(func() { s.asksOne(phase, q) })
	}
	all.Wait()
}

func (s *hungSteps) asksOne(phase string, q question) {
	s.Helper()
	ctx, cancel := s.limit()
	defer cancel()
	began := time.Now()
	err := s.with(ctx, func(client *rpc.Client) error { return q.ask(ctx, client) })
	took := time.Since(began)
	s.answers.add(q.request, phase, took)
	if took > answerLimit+busy {
		s.Errorf("%s, %s: the answer took %s: %v", q.request, phase, took, err)
	}
	var said *rpc.Error
	if err != nil && (!errors.As(err, &said) || !slices.Contains(q.reasons, said.Data.Reason)) {
		s.Errorf("%s, %s: %v", q.request, phase, err)
	}
}

// everyRequest are the requests that concern every repository, or the second one.
func (s *hungSteps) everyRequest(phase string) []question {
	s.started++
	vm := s.late.record.VMName
	start := rpc.StartRequest{
		VMName: vm, BackupType: rpc.Full, RepositoryID: s.second, RequestID: fmt.Sprintf("late-%s-%d", phase, s.started),
	}
	return []question{
		{request: "agent.status", ask: func(ctx context.Context, c *rpc.Client) error {
			_, err := c.Status(ctx)
			return err
		}},
		{request: "repository.list", ask: func(ctx context.Context, c *rpc.Client) error {
			_, err := c.ListRepositories(ctx)
			return err
		}},
		{request: "repository.get", ask: func(ctx context.Context, c *rpc.Client) error {
			_, err := c.GetRepository(ctx, s.second)
			return err
		}},
		{request: "backup.list", ask: func(ctx context.Context, c *rpc.Client) error {
			_, err := c.ListBackups(ctx, rpc.BackupQuery{Limit: 1000})
			return err
		}},
		{request: "backup.chain", reasons: []rpc.Reason{rpc.ReasonRepositoryStuck}, ask: func(ctx context.Context, c *rpc.Client) error {
			_, err := c.Chain(ctx, rpc.ChainRequest{VMName: s.vm.record.VMName})
			return err
		}},
		{request: "agent.doctor", ask: func(ctx context.Context, c *rpc.Client) error {
			_, err := c.Doctor(ctx)
			return err
		}},
		{request: "prune, dry run", reasons: []rpc.Reason{rpc.ReasonRepositoryStuck}, ask: func(ctx context.Context, c *rpc.Client) error {
			_, err := c.Prune(ctx, rpc.PruneRequest{DryRun: true})
			return err
		}},
		{request: "backup.start there", reasons: []rpc.Reason{rpc.ReasonRepositoryStuck}, ask: func(ctx context.Context, c *rpc.Client) error {
			answer, err := c.StartBackup(ctx, start)
			if err == nil {
				err = fmt.Errorf("backup %s was started in a repository that hangs", answer.BackupID)
			}
			return err
		}},
	}
}
