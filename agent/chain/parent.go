package chain

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
)

// ChooseParent finds the restore point that a backup stands on, and proves it fit. It returns the type that the backup
// will have: a full one has no parent, and auto becomes either. why says why auto became a full one of a VM that has restore
// points.
func (c *Chains) ChooseParent(ctx context.Context, vm record.VM, repo *repository.Repository, want record.Type) (kind record.Type, parent *record.Backup, why string, err error) {
	if want == record.Full {
		return record.Full, nil, "", nil
	}
	newest, found, err := c.Store.LatestCompleted(vm.Name, repo.ID)
	if err != nil {
		return "", nil, "", fault.From(err)
	}
	if found && record.Future(newest.CreatedAt, time.Now()) {
		c.Log.Warn("the newest restore point is dated in the future; it is used as the parent", logkey.BackupID, newest.ID,
			logkey.VM, vm.Name, "created_at", newest.CreatedAt)
	}
	unfit := c.unfitParent(ctx, vm, repo, newest, found)
	switch {
	case unfit == nil:
		return record.Incremental, &newest, "", nil
	case want == record.Incremental || !fault.From(unfit).Has(fault.NoParent):
		return "", nil, "", unfit
	case found:
		c.Log.Warn("auto makes a full backup instead of an incremental", logkey.VM, vm.Name, logkey.Error, unfit)
		why = unfit.Error()
	}
	return record.Full, nil, why, nil
}

// unfitParent says why the newest restore point of a VM cannot be built upon, as reason NoParent; nil if it can. Any other
// reason says that it could not be looked at.
func (c *Chains) unfitParent(ctx context.Context, vm record.VM, repo *repository.Repository, newest record.Backup, found bool) error {
	if !found {
		e := fault.New(fault.NoParent, "vm %q has no restore point in repository %s", vm.Name, repo.ID)
		e.Hint = "make a full backup first, or use the type auto"
		return e
	}
	if err := otherVM(vm, newest); err != nil {
		return err // before what else may be wrong with it
	}
	if !shareDisk(vm, newest) {
		e := fault.New(fault.NoParent, "vm %q has no disk in common with its newest restore point %s", vm.Name, newest.ID)
		e.Hint = "make a full backup, or use the type auto"
		return e
	}
	return c.CheckParent(ctx, vm, repo, newest)
}

// otherVM says, as reason NoParent, that a restore point is of another VM, although that has the same name on record: the VM was
// made anew, or its record names another one now.
func otherVM(vm record.VM, point record.Backup) error {
	differs := vm.Differs(point.VM)
	if differs == "" {
		return nil
	}
	e := fault.New(fault.NoParent, "vm %q: its newest restore point %s is of another VM: %s", vm.Name, point.ID, differs)
	e.Hint = "make a full backup, or use the type auto: an incremental never uses a restore point of another VM"
	return e
}

// sameEncryption says, as reason NoParent, that a restore point is encrypted and new backups of the repository are not, or the
// other way round. No chain holds both: of a backup that is encrypted nothing lies in the repository as it was, and what is not
// encrypted needs no key.
func (c *Chains) sameEncryption(repo *repository.Repository, point record.Backup) error {
	now := c.Repositories.NewKey(repo) != ""
	if point.Encrypted() == now {
		return nil
	}
	words := map[bool]string{true: "encrypted", false: "not encrypted"}
	e := fault.New(fault.NoParent, "restore point %s is %s, but new backups in repository %s are %s", point.ID,
		words[!now], repo.ID, words[now])
	e.Hint = "make a full backup, or use the type auto: encryption starts and stops with a full backup"
	return e
}

// mayLackData says, as reason NoParent, that a restore point was copied while its exports accepted WRITE_ZEROES, which SBC asks for
// where it has only looked at samples (contract §5): an incremental would inherit what is missing. One that refused stands on
// none that did not, so it speaks for its whole chain. Where zeroes are accepted now, the client is known to be exact.
func (c *Chains) mayLackData(point record.Backup) error {
	if point.ZeroesRefused || c.Exports.AcceptsZeroes() {
		return nil
	}
	e := fault.New(fault.NoParent, "restore point %s may lack data: it was copied while WRITE_ZEROES was accepted, by an older agent or by "+
		"sna.accept_write_zeroes", point.ID)
	e.Hint = "make a full backup, or use the type auto: an incremental would lack the same data"
	return e
}

// LacksNothing says of a backup whether no data is missing that its client, or that of what it stands on, only sampled. A reload may
// have changed what is accepted since the parent was chosen: what that may lack, this one lacks too.
func LacksNothing(refused bool, ancestors []record.Backup) bool {
	return refused && (len(ancestors) == 0 || ancestors[0].ZeroesRefused)
}

// CheckParent says why a restore point of a VM cannot be built upon, in the terms of unfitParent: it, or what it stands on, is
// not what was made.
func (c *Chains) CheckParent(ctx context.Context, vm record.VM, repo *repository.Repository, newest record.Backup) error {
	if err := otherVM(vm, newest); err != nil {
		return err
	}
	if err := c.sameEncryption(repo, newest); err != nil {
		return err
	}
	if err := c.mayLackData(newest); err != nil {
		return err
	}
	err := c.Prove(ctx, repo, newest)
	var damage *Damage
	switch {
	case err == nil:
		return nil
	case repositories.IsKeyError(err):
		return repositories.ForPoint(err, newest.ID)
	case !errors.As(err, &damage):
		return repositories.Fault(fmt.Errorf("restore point %s cannot be checked: %w", newest.ID, err))
	}
	e := fault.New(fault.NoParent, "vm %q: its newest restore point %s cannot be a parent: %w", vm.Name, newest.ID, err)
	e.Hint = "make a full backup: an incremental would inherit the damage"
	return e
}

// shareDisk says whether any disk of the VM is in the restore point with a change id: without one there is nothing from
// which changes could be copied.
func shareDisk(vm record.VM, point record.Backup) bool {
	for _, d := range vm.Disks {
		if from := OfKey(&point, d.Key()); from != nil && from.ChangeID != "" && from.CapacityBytes <= d.CapacityBytes {
			return true
		}
	}
	return false
}

// StandOn fills in what the image of a disk stands on in an incremental.
func StandOn(d *record.DiskRun, parent *record.Backup) {
	from := OfKey(parent, d.Key)
	switch {
	case from == nil:
		d.Change = record.Added
		return
	case from.CapacityBytes > d.CapacityBytes:
		d.Change = record.Replaced
		return
	case from.CapacityBytes < d.CapacityBytes:
		d.Change = record.Grown
	default:
		d.Change = record.Same
	}
	if from.ChangeID == "" {
		return // nothing tells what changed, so it is copied whole
	}
	d.Content = record.Changes
	d.Backing = filepath.Join("..", parent.ID, filepath.Base(from.Image))
	d.ParentChangeID = from.ChangeID
}

// RemovedDisks lists the disks of the parent that the VM has no more.
func RemovedDisks(vm record.VM, parent *record.Backup) []int {
	var gone []int
	for _, from := range parent.Runs {
		if !hasKey(vm, from.Key) {
			gone = append(gone, from.DiskID)
		}
	}
	return gone
}

func hasKey(vm record.VM, key int) bool {
	for _, d := range vm.Disks {
		if d.Key() == key {
			return true
		}
	}
	return false
}

// OfKey finds the run of a disk by its key, by which VMware knows a disk for as long as it is attached.
func OfKey(b *record.Backup, key int) *record.DiskRun {
	for i := range b.Runs {
		if b.Runs[i].Key == key {
			return &b.Runs[i]
		}
	}
	return nil
}
