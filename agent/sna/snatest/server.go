package snatest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest/client"
	"github.com/sendense/backup-agent/agent/sna/snatest/fault"
	"github.com/sendense/backup-agent/agent/sna/snatest/vcenter"
)

// Server is a running simulator. Its methods may be called from any goroutine.
type Server struct {
	// URL is the base address of the SNA's API, such as http://127.0.0.1:40123.
	URL string

	options Options
	http    *http.Server
	served  chan struct{} // closed when http.Serve has returned
	ctx     context.Context
	cancel  context.CancelCauseFunc
	runners sync.WaitGroup
	holds   fault.Points
	vcenter *vcenter.VCenter
	host    *client.Host

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at every change of what follows
	closed   bool
	faults   fault.Faults
	posts    []Post
	runs     []*client.Client
	jobs     map[string]job
	progress map[string]progressReport
	lastPID  int
}

// New serves until Close.
func New(options Options) (*Server, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		options:  options,
		served:   make(chan struct{}),
		changed:  make(chan struct{}),
		jobs:     make(map[string]job),
		progress: make(map[string]progressReport),
		lastPID:  4100,
	}
	s.vcenter = vcenter.New(vcenter.Options{
		Dir: options.Dir, ReadInPlace: options.ReadInPlace, NoChangeTracking: options.NoChangeTracking, Quiesce: options.Quiesce,
	})
	s.host = &client.Host{
		VCenter: s.vcenter, Points: &s.holds, TellSNA: s.reportProgress, Changed: s.changedState, Callback: options.Callback,
		RequestBytes: options.RequestBytes, NoSampling: options.NoSampling, TelemetryInterval: options.TelemetryInterval,
		RetryDelay: options.RetryDelay, Logger: options.Logger,
	}
	for _, vm := range options.VMs {
		if err := s.SetVM(vm); err != nil {
			return nil, err
		}
	}
	if err := s.SetFaults(options.Faults); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", options.Listen)
	if err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.URL = "http://" + listener.Addr().String()
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: time.Minute,
		// Close ends every request in progress, also hung ones.
		BaseContext: func(net.Listener) context.Context { return s.ctx },
	}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(faultyListener{listener, s}) // ends with Close
	}()
	return s, nil
}

// Close kills every SBC, ends the server and waits for both.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel(client.ErrClosed)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // break off what has not ended in time
	}
	<-s.served
	s.runners.Wait()
	s.vcenter.Close()
}

// SetVM adds a VM, or replaces the one with the same path: a disk that has grown,
// a disk more. A snapshot that exists stays as it is.
func (s *Server) SetVM(vm vcenter.VM) error { return s.vcenter.SetVM(vm) }

// RemoveVM takes a VM out of the vCenter. A snapshot that exists stays.
func (s *Server) RemoveVM(path string) { s.vcenter.RemoveVM(path) }

// SetFaults replaces the faults for the POSTs and connections to come, and holds
// the points in Pause. Points held before stay held.
func (s *Server) SetFaults(faults fault.Faults) error {
	for _, point := range faults.Pause {
		if err := s.holds.Hold(point); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
	return nil
}

// Hold makes every run stop at a point until Release: login, snapshot, disk/N,
// copy/N (half of disk N is written, no request is in progress), complete/N,
// disconnect/N, remove. It panics on another name.
func (s *Server) Hold(point string) {
	if err := s.holds.Hold(point); err != nil {
		panic(err)
	}
}

// Release lets the runs continue that wait at a point, and those to come.
func (s *Server) Release(point string) { s.holds.Release(point) }

// Kill ends every run of a job as SIGKILL ends an SBC: connections break off, the
// snapshot stays. It returns when the runs have ended.
func (s *Server) Kill(ctx context.Context, jobID string) error {
	return s.signal(ctx, jobID, client.ErrKilled)
}

// Terminate ends every run of a job as SIGTERM does. Of SBC's two handlers the one
// that exits at once wins against the one that removes the snapshot, unless
// Faults.TermRemoves; before the first connection there is only the latter, and
// before the nbdkits run there is none.
func (s *Server) Terminate(ctx context.Context, jobID string) error {
	return s.signal(ctx, jobID, client.ErrTerminated)
}

func (s *Server) signal(ctx context.Context, jobID string, cause error) error {
	s.mu.Lock()
	for _, run := range s.runs {
		if run.IsOf(jobID) {
			run.End(cause)
		}
	}
	s.mu.Unlock()
	return s.wait(ctx, "the end of "+jobID, func(state State) bool {
		for _, run := range state.Runs {
			if run.JobID == jobID && !run.Done {
				return false
			}
		}
		return true
	})
}

// Forget clears the SNA's memory of jobs, as its restart does. SBCs continue.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.jobs)
	clear(s.progress)
	s.notify()
}

// fork starts an SBC for an accepted request.
func (s *Server) fork(body startBody, faults fault.Faults) (pid int, err error) {
	ctx, kill := context.WithCancelCause(s.ctx)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		kill(client.ErrClosed)
		return 0, fmt.Errorf("fork sbc: %w", client.ErrClosed)
	}
	s.runners.Add(1) // under the lock that Close takes before it waits
	s.lastPID++
	r := client.New(s.host, body.request(), faults, s.lastPID, kill)
	pid = s.lastPID
	s.runs = append(s.runs, r)
	s.jobs[body.JobID] = job{body.JobID, body.VMPath, time.Now()}
	s.notify()
	s.mu.Unlock()

	if s.options.SnapshotBeforeAnswer {
		r.SnapshotEarly(ctx)
	}
	go func() {
		defer s.runners.Done()
		defer kill(nil)
		r.Run(ctx)
	}()
	return pid, nil
}

// faultyListener closes connections at accept while that fault is on.
type faultyListener struct {
	net.Listener
	server *Server
}

func (l faultyListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if !l.server.closesConnection() {
			return conn, nil
		}
		_ = conn.Close() // that is the fault
	}
}

func (s *Server) closesConnection() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.CloseAtAccept <= 0 {
		return false
	}
	s.faults.CloseAtAccept--
	return true
}
