package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/nbd"
)

// ErrResumed is the cause of an undoing that goes on where an earlier agent left it.
var ErrResumed = errors.New("undo resumed")

// begin brings a new backup to the point where the SNA has it. A backup that an earlier agent began is past that.
func (r *run) begin() error {
	b, err := r.service.Store.Backup(r.ID)
	switch {
	case err != nil:
		return fault.New(fault.Internal, "backup %s: %w", r.ID, err)
	case b.State == record.Undoing:
		return ErrResumed
	case b.State == record.Queued:
		r.Answer(nil)
		if b, err = r.waitForTurn(b); err != nil {
			return err
		}
	case b.State != record.Preparing:
		return nil
	}
	start := time.Now()
	if b, err = r.export(b); err != nil {
		return err
	}
	r.service.Metrics.Phase(metrics.PhaseExport, start)
	return r.call(b)
}

// export makes the image of every disk and serves it. At the end the record holds what is served where.
func (r *run) export(b record.Backup) (record.Backup, error) {
	a := r.service
	repo, err := a.Repositories.Find(b.Repository)
	if err != nil {
		return b, err
	}
	if b, err = a.Records.Advance(b.ID, record.Exporting, func(b *record.Backup) { b.BootID = a.BootID }); err != nil {
		return b, err
	}
	mode, err := repo.IOMode()
	if err != nil {
		return b, repositories.Fault(err)
	}
	ancestors, err := a.Chains.Ancestors(b)
	if err != nil {
		return b, fault.New(fault.Internal, "backup %s: %w", b.ID, err)
	}
	failpoint.Reach("before directory")
	if err := repo.MakeDir(nbd.DirName(b.VM.Name), b.ID); err != nil {
		return b, repositories.Fault(err)
	}
	failpoint.Reach("directory made")
	b, err = a.Records.Change(b.ID, func(b *record.Backup) error {
		b.DirectoryMade = true
		return nil
	})
	if err != nil {
		return b, err
	}
	plan := exportPlan{repo: repo, mode: mode, backup: b, ancestors: ancestors, refuseZeroes: !a.Exports.AcceptsZeroes()}
	served := make([]record.DiskRun, len(b.Runs))
	group, ctx := errgroup.WithContext(r.Ctx)
	group.SetLimit(export.MaxParallelDisks)
	for i := range b.Runs {
		group.Go(func() (err error) {
			served[i], err = r.exportDisk(ctx, plan, b.Runs[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		if r.Ctx.Err() != nil {
			return b, context.Cause(r.Ctx)
		}
		return b, err
	}
	targets, err := targetsOf(a.Config.SNA.NBDHost, served)
	if err != nil {
		return b, fault.New(fault.Internal, "backup %s: %w", b.ID, err)
	}
	return a.Records.Change(b.ID, func(b *record.Backup) error {
		b.Targets, b.ZeroesRefused = targets, chain.LacksNothing(plan.refuseZeroes, ancestors)
		copy(b.Runs, served)
		return nil
	})
}

func targetsOf(host string, runs []record.DiskRun) (string, error) {
	targets := make([]nbd.Target, len(runs))
	for i, run := range runs {
		targets[i] = nbd.Target{DiskKey: run.Key, Host: host, Port: run.Port, Export: run.ExportName}
	}
	return nbd.TargetsString(targets)
}

// call asks the SNA, once. That it is about to be asked is on the disk before the request leaves, so that no agent will
// ever ask again; and in two transactions, so that no page of the database can be lost that alone knows of it. A lost answer
// is no failure: the exports stay, and the run follows what comes.
func (r *run) call(b record.Backup) error {
	a := r.service
	request, err := a.snaRequest(b)
	if err != nil {
		return err
	}
	if err := context.Cause(r.Ctx); err != nil {
		return err
	}
	b, err = a.Records.Advance(b.ID, record.Calling, func(b *record.Backup) { b.CalledAt = time.Now() })
	if err != nil {
		return err
	}
	if err := a.Store.SecondCopy(); err != nil {
		if notStarted := r.recordNotStarted(); notStarted != nil {
			return notStarted
		}
		return fault.From(fmt.Errorf("backup %s: nothing was sent to the SNA: %w", b.ID, err))
	}
	r.began = time.Now()
	failpoint.Reach("before call")
	response, err := a.SNA.Start(r.Ctx, request)
	failpoint.Reach("after call")
	a.Metrics.Called(r.began, err)
	var unknown *sna.OutcomeUnknownError
	if errors.As(err, &unknown) {
		return r.unresolved(err)
	}
	if err != nil {
		return r.notStarted(b, err)
	}
	return r.UntilRecorded(func() error {
		_, err := a.Records.Change(b.ID, func(b *record.Backup) error {
			b.SNAPID, b.AcceptedAt = response.PID, time.Now()
			if b.State == record.Calling {
				b.State = record.Running
			}
			return nil
		})
		return err
	})
}

// notStarted records that no SBC is on its way, and says why.
func (r *run) notStarted(b record.Backup, cause error) error {
	if err := r.recordNotStarted(); err != nil {
		return err
	}
	if cancelled := context.Cause(r.Ctx); cancelled != nil {
		return cancelled // it was called off before it reached the SNA
	}
	return snaError(b, cause)
}

func (r *run) recordNotStarted() error {
	return r.UntilRecorded(func() error {
		_, err := r.service.Records.Change(r.ID, func(b *record.Backup) error {
			b.NotStarted = true
			return nil
		})
		return err
	})
}

// unresolved records that nobody knows whether the request arrived, unless a callback has shown by now that it did.
func (r *run) unresolved(cause error) error {
	var b record.Backup
	err := r.UntilRecorded(func() (err error) {
		b, err = r.service.Records.Change(r.ID, func(b *record.Backup) error {
			if b.State == record.Calling {
				b.State = record.Unresolved
			}
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	if b.State == record.Unresolved {
		e := fault.New(fault.SNAOutcomeUnknown, "backup %s: the SNA did not answer; it may or may not have started the backup: %w", r.ID, cause)
		e.BackupID = r.ID
		e.Hint = "the exports stay up and the SNA is not asked again. The backup continues if its client connects, " +
			"and fails at the first-connection deadline if none does. To end it now, cancel it"
		r.Answer(e)
	}
	return nil
}

// snaRequest is what the SNA is sent for a backup.
func (s *Service) snaRequest(b record.Backup) (sna.StartRequest, error) {
	request := sna.StartRequest{
		JobID: b.ID, VMName: b.VM.Name, VMPath: b.VM.InventoryPath,
		NBDHost: s.Config.SNA.NBDHost, NBDTargets: b.Targets, BackupType: string(b.Type),
		PreviousChangeID: previousChangeID(b),
	}
	if b.VM.VCenter == "" {
		return request, nil
	}
	vc, err := s.Inventory.Login(b.VM.VCenter)
	if err != nil {
		return request, err
	}
	if b.VM.InventoryPath == "" {
		return request, fault.New(fault.InvalidRequest, "vm %q has no inventory path, so vCenter %s cannot find it: set it with vm.put",
			b.VM.Name, b.VM.VCenter)
	}
	request.VCenterHost, request.VCenterUser, request.VCenterPassword = vc.Host, vc.User, vc.Password
	return request, nil
}

// previousChangeID is what an incremental is started with: the change id of the first disk that has one. The SNA wants
// one that is not empty; SBC asks for itself what it copies from (see ChangeID).
func previousChangeID(b record.Backup) string {
	for _, d := range b.Runs {
		if d.ParentChangeID != "" {
			return d.ParentChangeID
		}
	}
	return ""
}

// snaError translates what the SNA client says into what the caller is told; the SNA's own words are part of it.
func snaError(b record.Backup, err error) error {
	var refused *sna.RefusedError
	if errors.As(err, &refused) {
		e := fault.New(fault.SNARefused, "backup %s: %w", b.ID, err)
		e.BackupID, e.Hint = b.ID, "the SNA refused the backup, in its own words above; the start is undone"
		return e
	}
	e := fault.New(fault.SNAUnreachable, "backup %s: %w", b.ID, err)
	e.BackupID, e.Hint = b.ID, "nothing was sent, and the start is undone. Check the tunnel and sna.url"
	return e
}
