package crashtest_test

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// A hangRow is a row in which the second repository hangs in the midst of an operation, until everything else has been tried. The server
// of its file system has read the request and does not answer it.
type hangRow struct {
	name     string
	promise  string
	points   []rpc.BackupType                                                  // restore points of the VM in the second repository
	policy   string                                                            // of the second repository
	hold     string                                                            // where the backup client waits before the hang begins
	when     func(operation, path string) bool                                 // begins the hang
	asks     func(ctx context.Context, s *hungSteps, client *rpc.Client) error // the request that hangs; nil: the start of the backup
	idle     bool                                                              // nothing is asked for
	boots    bool                                                              // the hang begins in the start of the daemon
	canceled bool                                                              // the backup is canceled
	polls    int                                                               // of the status, during the hang
	cancels  func(ctx context.Context, client *rpc.Client, id string) error    // cancels the request, which waits until the repository answers
	becomes  string
}

// lasting are deadlines that do not pass during the hang.
var lasting = map[string]string{
	"deadlines.first_connection": `"5m"`, "deadlines.no_progress": `"5m"`, "deadlines.disconnect": `"5m"`,
}

func (r hangRow) fault() fault {
	return fault{name: r.name, promise: r.promise, config: lasting, becomes: r.becomes, act: r.act}
}

func (r hangRow) act(c *crash) {
	s := c.withSecond()
	if r.policy != "" {
		c.policy(r.policy)
	}
	s.prepared(r.points)
	defer func() { s.Logf("%s\n%s", r.name, s.answers.String()) }()
	id := r.begin(s)
	s.hangs()
	s.asks("at once", s.everyRequest("at once"))
	s.stuck()
	s.asks("stuck", s.everyRequest("stuck"))
	if r.polls > 0 {
		s.polls(r.polls)
	}
	r.isAnswered(s)
	s.mainWorks("stuck")
	if r.canceled {
		s.letsGo(id())
	}
	s.restarts()
	s.mainWorks("restarted")
	s.stuck()
	s.asks("restarted", s.everyRequest("restarted"))
	s.recovers()
	s.itsAnswer(answerLimit + busy) // of a daemon that has ended
	s.allEnd()
}

// begin has the operation begin. id is that of the backup of the row.
func (r hangRow) begin(s *hungSteps) (id func() string) {
	s.Helper()
	if r.hold != "" {
		s.sna.Hold(r.hold)
		ctx, cancel := s.limit()
		defer cancel()
		id, err := s.start(ctx, s.request)
		must(s.T, err)
		_, err = s.sna.WaitHeld(ctx, id, r.hold)
		must(s.T, err)
		s.hang = s.dir.hangWhen(r.when)
		s.sna.Release(r.hold)
		return func() string { return id }
	}
	s.hang = s.dir.hangWhen(r.when)
	switch {
	case r.idle:
		s.hang.begin()
	case r.boots:
		s.halt()
		s.boot()
	case r.asks != nil:
		s.asksFor(func(ctx context.Context, client *rpc.Client) error { return r.asks(ctx, s, client) })
	default:
		s.asksFor(func(ctx context.Context, client *rpc.Client) error {
			_, err := client.StartBackup(ctx, s.request)
			return err
		})
	}
	return func() string { return s.victimNow().BackupID }
}

// isAnswered: the request that hangs is answered in time too.
func (r hangRow) isAnswered(s *hungSteps) {
	s.Helper()
	reason := rpc.ReasonRepositoryStuck
	if r.cancels != nil {
		reason = rpc.ReasonWrongState // canceled
		newest := s.points.list()[0]
		s.asksOne("stuck", question{request: "cancel of the request that hangs", ask: func(ctx context.Context, client *rpc.Client) error {
			return r.cancels(ctx, client, newest)
		}})
	}
	err, answered := s.itsAnswer(answerLimit + busy)
	took := time.Since(s.asked)
	switch {
	case s.asked.IsZero():
	case !answered:
		s.answers.add("the request that hangs: not answered for", "stuck", took)
		s.Errorf("the request that hangs is not answered after %s", took)
	default:
		s.Logf("the request that hangs: %v", err)
		var said *rpc.Error
		if !errors.As(err, &said) || said.Data.Reason != reason {
			s.Errorf("the request that hangs is answered with %v, want %s", err, reason)
		}
	}
}

// on is true for an operation on a path that holds the words.
func on(operation string, words ...string) func(operation, path string) bool {
	return func(o, path string) bool {
		for _, w := range words {
			if !strings.Contains(path, w) {
				return false
			}
		}
		return o == operation
	}
}

// newest asks something about the newest restore point.
func newest(ask func(ctx context.Context, client *rpc.Client, id string) error) func(context.Context, *hungSteps, *rpc.Client) error {
	return func(ctx context.Context, s *hungSteps, client *rpc.Client) error {
		list, err := s.backups(ctx, s.vm)
		if err != nil {
			return err
		}
		return ask(ctx, client, list[0].BackupID)
	}
}

// hangFaults are those of a repository that hangs, beside one that works.
var hangFaults = []fault{
	hangRow{
		name:     "hang: a backup in mid copy, which is canceled",
		promise:  "requests are answered; the other repository works; canceled at once; its leftovers go when the repository answers",
		hold:     "copy/0",
		when:     on(opWrite, "disk0.qcow2"),
		canceled: true,
		polls:    300,
		becomes:  "cancelled",
	}.fault(),
	hangRow{
		name:    "hang: a deletion",
		promise: "refused with repository_stuck; deleted when the repository answers",
		points:  []rpc.BackupType{rpc.Full},
		when:    on(opRemove, "disk0.qcow2"),
		asks: newest(func(ctx context.Context, client *rpc.Client, id string) error {
			return client.DeleteBackup(ctx, rpc.DeleteRequest{BackupID: id})
		}),
		becomes: "none",
	}.fault(),
	hangRow{
		name:    "hang: nothing is in progress",
		promise: "found within seconds; refused with repository_stuck; the other repository works",
		when:    func(string, string) bool { return true },
		idle:    true,
		becomes: "none",
	}.fault(),
	hangRow{
		name:    "hang: the directory of a backup is made",
		promise: "refused with repository_stuck; nothing is left",
		when:    on(opMake, "/backup-"),
		becomes: "failed",
	}.fault(),
	hangRow{
		name:    "hang: an image is made",
		promise: "refused with repository_stuck; nothing is left",
		when:    on(opMake, "disk0.qcow2"),
		becomes: "failed",
	}.fault(),
	hangRow{
		name:    "hang: an image is flushed at the end of a backup",
		promise: "waits until its deadlines; completed when the repository answers",
		hold:    "disconnect/1",
		when:    on(opSync, "disk0.qcow2"),
		becomes: "completed",
	}.fault(),
	hangRow{
		name:    "hang: a manifest is committed",
		promise: "waits until its deadlines; completed when the repository answers",
		hold:    "disconnect/1",
		when:    on(opRename, "manifest.json"),
		becomes: "completed",
	}.fault(),
	hangRow{
		name:     "hang: an image is flushed at the end of a backup, which is canceled",
		promise:  "canceled at once; its leftovers go when the repository answers",
		hold:     "disconnect/1",
		when:     on(opSync, "disk0.qcow2"),
		canceled: true,
		becomes:  "cancelled",
	}.fault(),
	hangRow{
		name:    "hang: a restore starts",
		promise: "refused with repository_stuck; nothing is left",
		points:  []rpc.BackupType{rpc.Full},
		when:    on(opMake, ".restore"),
		asks: newest(func(ctx context.Context, client *rpc.Client, id string) error {
			_, err := client.StartRestore(ctx, rpc.RestoreRequest{BackupID: id, Writable: true})
			return err
		}),
		becomes: "none",
	}.fault(),
	hangRow{
		name:    "hang: a verification",
		promise: "waits, or is canceled at once; nothing is marked damaged",
		points:  []rpc.BackupType{rpc.Full},
		when:    on(opRead, "disk0.qcow2"),
		asks: newest(func(ctx context.Context, client *rpc.Client, id string) error {
			_, err := client.VerifyBackup(ctx, rpc.VerifyRequest{BackupID: id, Deep: true}, nil)
			return err
		}),
		cancels: func(ctx context.Context, client *rpc.Client, id string) error {
			_, err := client.CancelVerify(ctx, id)
			return err
		},
		becomes: "none",
	}.fault(),
	hangRow{
		name:    "hang: a merge",
		promise: "waits, or is canceled at once; the old chain stands, and nothing is left",
		points:  []rpc.BackupType{rpc.Full, rpc.Incremental},
		when:    on(opWrite, ".merge-", "disk0.qcow2"),
		asks: newest(func(ctx context.Context, client *rpc.Client, id string) error {
			_, err := client.SyntheticFull(ctx, id)
			return err
		}),
		cancels: func(ctx context.Context, client *rpc.Client, id string) error {
			_, err := client.CancelMerge(ctx, id)
			return err
		},
		becomes: "none",
	}.fault(),
	hangRow{
		name:    "hang: a prune",
		promise: "the report names the repository; the restore point goes when the repository answers",
		points:  []rpc.BackupType{rpc.Full, rpc.Full},
		policy:  keepNewest,
		when:    on(opRemove, "disk0.qcow2"),
		asks: func(ctx context.Context, s *hungSteps, client *rpc.Client) error {
			report, err := client.Prune(ctx, rpc.PruneRequest{RepositoryID: s.second})
			if err == nil && report.FailedCount > 0 {
				for _, p := range report.Points {
					if p.Failure != nil {
						return &rpc.Error{Message: p.Failure.Message, Data: rpc.ErrorData{Reason: p.Failure.Reason}}
					}
				}
			}
			return err
		},
		becomes: "none",
	}.fault(),
	hangRow{
		name:    "hang: the comparison with the catalog at the start",
		promise: "the daemon starts; the other repository works",
		points:  []rpc.BackupType{rpc.Full},
		when:    on(opRead, "manifest.json"),
		boots:   true,
		becomes: "none",
	}.fault(),
}
