package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
)

// An operation is something that the agent does, and that may be cut short anywhere.
type operation struct {
	name    string
	config  string         // appended to section [agent]
	faults  snatest.Faults // of the SNA while it runs
	kind    rpc.BackupType
	queue   bool
	deletes bool                                      // it deletes what was there before
	stands  bool                                      // whenever it is cut short, every restore point is whole, before anybody has mended anything
	plain   bool                                      // the file system of the repository cannot exchange two directories, as NFS
	lost    bool                                      // the database is lost, and with it what requests there were
	imports bool                                      // its database has nothing of the repository, and the daemon imports it
	from    string                                    // before this point it is as the first operation
	to      string                                    // and after this one too
	alone   bool                                      // whether it reaches others than from, and when, is a matter of chance
	prepare func(c *crash)                            // with a daemon of its own, which it leaves stopped or killed
	after   func(ctx context.Context, c *crash) error // with the daemon that follows, before the request is repeated; may be nil
	act     func(ctx context.Context, c *crash) error // what leads to the end of the backup, or to a kill
}

// operations are all that are tried. Every failpoint in the source must be reached by one of them.
var operations = []operation{
	{name: "full", act: begin},
	{name: "incremental", kind: rpc.Incremental, prepare: afterFull, act: begin},
	{name: "disk replaced", kind: rpc.Incremental, from: "before an image stands alone", to: "before publish", prepare: diskReplaced, act: begin},
	{name: "disk squeezed", kind: rpc.Incremental, config: "\n[squeeze]\nmin_size = \"1B\"\n", from: "before an image is squeezed", to: "before publish", prepare: diskReplaced, act: begin},
	{name: "disk not on record", from: "unknown disk recorded", alone: true, prepare: oneDiskMore, act: beginWithoutDisk},
	{name: "cancel", from: "committed running", act: cancelInMidCopy},
	{name: "refused", from: "before call", faults: snatest.Faults{Answer: snatest.AnswerRefuse, Status: 500, Text: "no"}, act: begin},
	{name: "answer lost", from: "before call", faults: snatest.Faults{Answer: snatest.AnswerReset}, act: begin},
	{name: "request lost", from: "before call", faults: snatest.Faults{Answer: snatest.AnswerReset, Inert: true}, act: begin},
	{name: "exporter killed", from: "committed running", act: killExporter},
	{name: "exporter killed, images kept", from: "committed running", config: `failed_images = "set_aside"`, act: killExporter},
	{name: "delete", deletes: true, prepare: afterFull, act: deleteAll},
	{name: "delete what was set aside", deletes: true, config: `failed_images = "set_aside"`, prepare: afterFailure, act: deleteAll},
	{name: "delete, cut short before", deletes: true, from: "reconcile: before resume deletion", prepare: deletionCutShort, act: allEnded},
	{name: "prune", deletes: true, stands: true, prepare: afterFulls, act: pruneAll},
	{name: "merge", deletes: true, stands: true, prepare: afterChain(mergeMiddle), act: pruneAll},
	{name: "consolidate", stands: true, prepare: afterChain(""), act: consolidateNewest},
	{name: "chain too long", stands: true, prepare: afterChain("keep_last = 9\nmax_chain = 2"), act: pruneAll},
	{name: "merge, no exchange", deletes: true, stands: true, plain: true, prepare: afterChain(mergeMiddle), act: pruneAll},
	{name: "consolidate, no exchange", stands: true, plain: true, prepare: afterChain(""), act: consolidateNewest},
	{name: "consolidate, no exchange, database gone", plain: true, lost: true, from: "merge: old one renamed", prepare: loseDatabaseInMidMerge, act: allEnded},
	{name: "sweep", prepare: withLeftovers, act: swept},
	{name: "database gone", lost: true, prepare: loseDatabase(func(string) error { return nil }), act: allEnded},
	{name: "database damaged", lost: true, prepare: loseDatabase(overwrite), act: allEnded},
	{name: "database gone, adopted twice", lost: true, from: "lost backup: before unit", prepare: adoptedBefore, act: allEnded},
	{name: "database gone, restore served", lost: true, from: "lost restore: before unit", prepare: loseRestore, act: allEnded},
	{name: "new hub, old repository", lost: true, imports: true, from: "import: before the mark", prepare: unseenRepository, act: imported, after: imported},
	{name: "database of an older version", from: "database: committing migration", to: "committing finishing", prepare: olderSchema, act: copyGoesOn},
	{name: "database with a zeroed header page", from: "recover: copied", to: "committing finishing", prepare: headerZeroed, act: copyGoesOn},
	{name: "stray lease", prepare: strayLease, act: leasesReturned},
	{name: "host restarted", prepare: otherBoot, act: allEnded},
	{name: "queued", queue: true, prepare: behindAnother, act: queuedStart},
	{name: "port taken", from: "before relet", prepare: takePort, act: begin},
	{name: "leaked clusters", from: "before leaks are repaired", to: "before publish", prepare: leakClusters, act: begin},
	{name: "group has another number", kind: rpc.Incremental, from: "share: before an image", to: "before prepare", prepare: otherGroup, act: begin},
	{name: "restore", prepare: afterFull, act: restoreAndStop},
	{name: "restore that expires", from: "committed restore serving", prepare: afterFull, act: restoreThatExpires},
	{name: "restore, port taken", from: "restore: before relet", prepare: takePortAfterFull, act: restoreAndStop},
	{name: "restore, exporter killed", from: "committed restore serving", prepare: afterFull, act: killRestorer},
	{name: "restore, its overlays left", from: "reconcile: before remove scratch", prepare: overlaysLeft, act: overlaysSwept},
	{name: "restore, restarted before it served", prepare: restoreCutShort, act: allEnded},
	{name: "verify", prepare: afterFull, act: verifyNewest},
	{name: "scheduled run", config: nightly, from: "before run", to: "before directory", act: scheduledRun, after: runEnded},
	{name: "schedule paused", config: nightly, from: "before schedule pause", act: pauseSchedule, after: scheduleResumed},
	{name: "pause", from: "before pause", prepare: afterFull, act: pauseAndResume, after: resumed},
	restarted("mkdir: directory of the backup made"),
	restarted("image made"),
	restarted("before call"),
	heldAtLogin(restarted("after call")),
	heldAtLogin(restarted("committed running")),
	restarted("terminated"),
	restarted("published"),
}

// restarted is the start of a daemon that finds what another has left that was killed at a point of a full backup.
func restarted(point string) operation {
	return operation{
		name: "restart at " + point,
		prepare: func(c *crash) {
			c.stopAt(point)
			c.boot()
			ctx, cancel := c.limit()
			defer cancel()
			must(c.T, c.put(ctx, c.vm))
			c.until(begin)
			if !c.reaches(true) {
				c.Fatalf("%s was not reached", point)
			}
		},
		act: func(context.Context, *crash) error { return nil },
	}
}

// heldAtLogin has SBC stand still before anybody can see it, until the daemon that is killed in the end runs.
func heldAtLogin(op operation) operation {
	prepare := op.prepare
	op.prepare = func(c *crash) {
		c.sna.Hold("login")
		prepare(c)
	}
	op.act = func(_ context.Context, c *crash) error {
		c.sna.Release("login")
		return nil
	}
	return op
}

// A crash is one life of a hub in which the daemon is killed.
type crash struct {
	*hub
	operation operation
	vm        *vm
	request   rpc.StartRequest
	pauses    pauses
	published []string // the manifests that were there when it was killed
	uncover   func()   // what is done once the daemon has stopped; may be nil
	made      int      // full backups beside that of the request

	points    pointSteps
	restoring restoreSteps
	db        databaseSteps
	client    clientSteps
	exporters exporterSteps
	daemon    daemonSteps
}

// What is done in a crash, and what must hold, by what it is about.
type (
	pointSteps    struct{ *crash } // restore points
	restoreSteps  struct{ *crash } // restores
	databaseSteps struct{ *crash } // the file of the database
	clientSteps   struct{ *crash } // the backup client and its SNA
	exporterSteps struct{ *crash } // qemu-nbd
	daemonSteps   struct{ *crash } // the agent's process and program
)

// crashOf is a crash of a hub that has not been booted.
func crashOf(h *hub, op operation) *crash {
	c := &crash{hub: h, operation: op}
	c.points, c.restoring, c.db = pointSteps{c}, restoreSteps{c}, databaseSteps{c}
	c.client, c.exporters, c.daemon = clientSteps{c}, exporterSteps{c}, daemonSteps{c}
	return c
}

// begin asks for the backup that the operation is about. A refusal is as good an answer as any.
func begin(ctx context.Context, c *crash) error {
	_, err := c.start(ctx, c.request)
	return answered(err)
}

// answered drops the errors that are the daemon's own words.
func answered(err error) error {
	var said *rpc.Error
	if errors.As(err, &said) {
		return nil
	}
	return err
}

// swept waits until the daemon has removed them.
func swept(ctx context.Context, c *crash) error {
	for {
		units, err := exporterUnits(c.vm.record.VMName)
		if err != nil {
			return err
		}
		units = slices.DeleteFunc(units, func(u string) bool { return slices.Contains(c.foreign, u) })
		left, err := filepath.Glob(filepath.Join(c.dir, "repository", "*", "*"))
		if err != nil || len(units)+len(left) == 0 {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("left: %v %v: %w", units, left, context.Cause(ctx))
		}
	}
}

// deleteAll deletes what the preparation left.
func deleteAll(ctx context.Context, c *crash) error {
	list, err := c.backups(ctx, c.vm)
	if err != nil {
		return err
	}
	for _, b := range list {
		c.tape.mark(notice{kind: isToBeDeleted, id: b.BackupID})
		err := c.with(ctx, func(client *rpc.Client) error {
			return client.DeleteBackup(ctx, rpc.DeleteRequest{BackupID: b.BackupID})
		})
		if err == nil {
			c.tape.mark(notice{kind: isDeleted, id: b.BackupID})
		}
		if answered(err) != nil {
			return err
		}
	}
	return nil
}

// heldCopy starts the backup and returns its record once its copy stands still in the midst of the first disk.
func heldCopy(ctx context.Context, c *crash) (rpc.Backup, error) {
	c.sna.Hold("copy/0")
	id, err := c.start(ctx, c.request)
	if err != nil {
		return rpc.Backup{}, err
	}
	if _, err := c.sna.WaitHeld(ctx, id, "copy/0"); err != nil {
		return rpc.Backup{}, err
	}
	var b rpc.Backup
	err = c.with(ctx, func(client *rpc.Client) (err error) {
		b, err = client.GetBackup(ctx, id)
		return err
	})
	return b, err
}

func cancelInMidCopy(ctx context.Context, c *crash) error {
	b, err := heldCopy(ctx, c)
	if err != nil {
		return err
	}
	return answered(c.with(ctx, func(client *rpc.Client) error {
		_, err := client.CancelBackup(ctx, b.BackupID)
		return err
	}))
}

func killExporter(ctx context.Context, c *crash) error {
	b, err := heldCopy(ctx, c)
	if err != nil {
		return err
	}
	for b.SeenAt.IsZero() { // of what nobody was seen to write to nothing is kept
		err := c.with(ctx, func(client *rpc.Client) (err error) {
			b, err = client.GetBackup(ctx, b.BackupID)
			return err
		})
		if err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	pid := b.Disks[0].QemuNBDPID
	if pid <= 0 {
		return fmt.Errorf("the exporter of %s has no PID", b.BackupID)
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}
