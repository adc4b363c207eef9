package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// begin moves a new backup to the point where the SNA has it. It does nothing for a backup that is already past that point.
func (j *Job) begin() error {
	b, err := j.service.Store.Backup(j.ID)
	switch {
	case err != nil:
		return fault.New(fault.Internal, "backup %s: %w", j.ID, err)
	case b.State == record.Undoing:
		return job.ErrResumed
	case b.State == record.Queued:
		j.Answer(nil)
		if b, err = j.waitInQueue(b); err != nil {
			return err
		}
	case b.State != record.Preparing:
		return nil
	}
	start := time.Now()
	if b, err = j.export(b); err != nil {
		return err
	}
	j.service.Metrics.Phase(metrics.PhaseExport, start)
	return j.call(b)
}

// export makes the image of every disk and serves it. It records what is served on which port.
func (j *Job) export(b record.Backup) (record.Backup, error) {
	s := j.service
	repo, err := s.Repositories.Find(b.Repository)
	if err != nil {
		return b, err
	}
	if b, err = s.Records.Advance(b.ID, record.Exporting, func(b *record.Backup) { b.BootID = s.BootID }); err != nil {
		return b, err
	}
	ctx, stop := repo.WhileAnswering(storage.UntilStuck(j.Ctx)) // the caller of the start waits, and nothing is lost
	defer stop()
	mode, _, err := repo.Images(qemu.Secret{}).DetectIO(ctx)
	if err != nil {
		return b, repositories.Fault(err)
	}
	ancestors, err := s.Chains.Ancestors(b)
	if err != nil {
		return b, fault.New(fault.Internal, "backup %s: %w", b.ID, err)
	}
	failpoint.Reach("before directory")
	if err := repo.MakeDir(ctx, nbd.DirName(b.VM.Name), b.ID); err != nil {
		return b, repositories.Fault(err)
	}
	failpoint.Reach("directory made")
	b, err = s.Records.Change(b.ID, func(b *record.Backup) error {
		b.DirectoryMade = true
		return nil
	})
	if err != nil {
		return b, err
	}
	plan := exportPlan{repo: repo, mode: mode, backup: b, ancestors: ancestors, refuseZeroes: !s.Exports.AcceptsZeroes()}
	served := make([]record.DiskRun, len(b.Runs))
	err = export.Each(ctx, len(b.Runs), func(ctx context.Context, i int) (err error) {
		served[i], err = j.exportDisk(ctx, plan, b.Runs[i])
		return err
	})
	if err != nil {
		return b, repositories.StuckOr(ctx, err)
	}
	targets, err := export.Targets(s.Config.SNA.NBDHost, export.Disks(served))
	if err != nil {
		return b, fault.New(fault.Internal, "backup %s: %w", b.ID, err)
	}
	return s.Records.Change(b.ID, func(b *record.Backup) error {
		b.Targets, b.ZeroesRefused = targets, chain.LacksNothing(plan.refuseZeroes, ancestors)
		copy(b.Runs, served)
		return nil
	})
}

// call asks the SNA, once. The record says so on the disk before the request leaves, so that no later agent asks again. The write
// is two transactions, so that the loss of a single database page cannot lose the fact. A lost answer is no failure: the exports
// stay, and the job follows what happens.
func (j *Job) call(b record.Backup) error {
	s := j.service
	request, err := s.snaRequest(b)
	if err != nil {
		return err
	}
	if err := context.Cause(j.Ctx); err != nil {
		return err
	}
	b, err = s.Records.Advance(b.ID, record.Calling, func(b *record.Backup) { b.CalledAt = time.Now() })
	if err != nil {
		return err
	}
	if err := s.Store.SecondCopy(); err != nil {
		if notStarted := j.recordNotStarted(); notStarted != nil {
			return notStarted
		}
		return fault.From(fmt.Errorf("backup %s: nothing was sent to the SNA: %w", b.ID, err))
	}
	j.began = time.Now()
	failpoint.Reach("before call")
	response, err := s.SNA.Start(j.Ctx, request)
	failpoint.Reach("after call")
	s.Metrics.Called(j.began, err)
	var unknown *sna.OutcomeUnknownError
	if errors.As(err, &unknown) {
		return j.unresolved(err)
	}
	if err != nil {
		return j.notStarted(b, err)
	}
	return j.UntilRecorded(func() error {
		_, err := s.Records.Change(b.ID, func(b *record.Backup) error {
			b.SNAPID, b.AcceptedAt = response.PID, time.Now()
			if b.State == record.Calling {
				b.State = record.Running
			}
			return nil
		})
		return err
	})
}

// notStarted records that the SNA started no SBC, and returns why.
func (j *Job) notStarted(b record.Backup, cause error) error {
	if err := j.recordNotStarted(); err != nil {
		return err
	}
	if cancelled := context.Cause(j.Ctx); cancelled != nil {
		return cancelled // it was canceled before it reached the SNA
	}
	return snaError(b, cause)
}

func (j *Job) recordNotStarted() error {
	return j.UntilRecorded(func() error {
		_, err := j.service.Records.Change(j.ID, func(b *record.Backup) error {
			b.NotStarted = true
			return nil
		})
		return err
	})
}

// unresolved records that the request may or may not have arrived. If a callback has already shown that it arrived, it changes
// nothing.
func (j *Job) unresolved(cause error) error {
	var b record.Backup
	err := j.UntilRecorded(func() (err error) {
		b, err = j.service.Records.Change(j.ID, func(b *record.Backup) error {
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
		e := fault.New(fault.SNAOutcomeUnknown, "backup %s: the SNA did not answer; it may or may not have started the backup: %w", j.ID, cause)
		e.BackupID = j.ID
		e.Hint = "the exports stay up and the SNA is not asked again. The backup continues if its client connects, " +
			"and fails at the first-connection deadline if none does. To end it now, cancel it"
		j.Answer(e)
	}
	return nil
}

// snaRequest is the request to the SNA for a backup.
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
	if e := fault.From(err); e.Has(fault.InvalidRequest) { // the record was right when it was made
		return request, fault.New(fault.NotConfigured, "vm %q: %w", b.VM.Name, err).
			WithHint("add the [vcenter." + b.VM.VCenter + "] table to the configuration again and restart the daemon, or name another vcenter with vm.put")
	}
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

// previousChangeID is the change id that an incremental is started with: that of the first disk that has one. The SNA requires one.
// SBC asks for the change id of each disk itself (see ChangeID).
func previousChangeID(b record.Backup) string {
	for _, d := range b.Runs {
		if d.ParentChangeID != "" {
			return d.ParentChangeID
		}
	}
	return ""
}

// snaError translates an error of the SNA client for the caller. It includes the SNA's own words.
func snaError(b record.Backup, err error) error {
	var refused *sna.RefusedError
	if errors.As(err, &refused) {
		return fault.New(fault.SNARefused, "backup %s: %w", b.ID, err).OfBackup(b.ID).
			WithHint("the SNA refused the backup, in its own words above; the start is undone. Read the SNA's log, and check the record of " +
				"the VM (vm.get) and its vCenter in the configuration")
	}
	var invalid *sna.InvalidRequestError
	if errors.As(err, &invalid) {
		return fault.New(fault.InvalidRequest, "backup %s: %w", b.ID, err).OfBackup(b.ID).
			WithHint("nothing was sent to the SNA, and the start is undone. Correct the record of the VM with vm.put, or its vCenter in the configuration")
	}
	return fault.New(fault.SNAUnreachable, "backup %s: %w", b.ID, err).OfBackup(b.ID).
		WithHint("nothing was sent, and the start is undone. Check the tunnel and sna.url")
}
