package chain

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
)

// ChooseParent chooses the parent of a backup and proves that it is fit. kind is the type that the backup gets: a full backup has no
// parent, and auto becomes full or incremental. why is the reason why auto became full although the VM has restore points. An incremental
// without a fit parent fails with reason NoParent.
func (c *Chains) ChooseParent(ctx context.Context, vm record.VM, repo *storage.Repository, want record.Type) (kind record.Type, parent *record.Backup, why string, err error) {
	return c.choose(vm, repo, want, func(newest record.Backup) error { return c.CheckParent(ctx, vm, repo, newest) })
}

// ChooseUnproved is ChooseParent without a look at the repository: whether the files of the parent are sound is checked later.
func (c *Chains) ChooseUnproved(vm record.VM, repo *storage.Repository, want record.Type) (kind record.Type, parent *record.Backup, why string, err error) {
	return c.choose(vm, repo, want, func(newest record.Backup) error { return c.checkOnRecord(vm, repo, newest) })
}

// choose chooses the parent of a backup; check says why a restore point cannot be one.
func (c *Chains) choose(vm record.VM, repo *storage.Repository, want record.Type, check func(record.Backup) error) (kind record.Type, parent *record.Backup, why string, err error) {
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
	unfit := unfitParent(vm, repo, newest, found, check)
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

// unfitParent returns why the newest restore point of a VM cannot be a parent, as reason NoParent; nil if it can. Any other reason means
// that it could not be checked.
func unfitParent(vm record.VM, repo *storage.Repository, newest record.Backup, found bool, check func(record.Backup) error) error {
	if !found {
		return fault.New(fault.NoParent, "vm %q has no restore point in repository %s", vm.Name, repo.ID).
			WithHint("make a full backup first, or use the type auto")
	}
	if err := otherVM(vm, newest); err != nil {
		return err // this matters most, so it is checked first
	}
	if !shareDisk(vm, newest) {
		return fault.New(fault.NoParent, "vm %q has no disk in common with its newest restore point %s", vm.Name, newest.ID).
			WithHint("make a full backup, or use the type auto")
	}
	return check(newest)
}

// otherVM returns an error of reason NoParent if a restore point is of another VM with the same name. That happens when the VM was
// created again, or when its record was changed to another VM.
func otherVM(vm record.VM, point record.Backup) error {
	differs := vm.Differs(point.VM)
	if differs == "" {
		return nil
	}
	return fault.New(fault.NoParent, "vm %q: its newest restore point %s is of another VM: %s", vm.Name, point.ID, differs).
		WithHint("make a full backup, or use the type auto: an incremental never uses a restore point of another VM")
}

// sameEncryption returns an error of reason NoParent if a restore point is encrypted and new backups of the repository are not, or the
// other way round. A chain never mixes both. So no plain data of an encrypted backup is in the repository, and a backup that is not
// encrypted needs no key.
func (c *Chains) sameEncryption(repo *storage.Repository, point record.Backup) error {
	now := c.Repositories.NewKey(repo) != ""
	if point.Encrypted() == now {
		return nil
	}
	words := map[bool]string{true: "encrypted", false: "not encrypted"}
	return fault.New(fault.NoParent, "restore point %s is %s, but new backups in repository %s are %s", point.ID,
		words[!now], repo.ID, words[now]).
		WithHint("make a full backup, or use the type auto: encryption starts and stops with a full backup")
}

// mayLackData returns an error of reason NoParent if a restore point was copied while its exports accepted WRITE_ZEROES. SBC sends
// WRITE_ZEROES where it has only read samples (contract §5), and an incremental would inherit what is missing. A backup that refused
// zeroes is never based on one that accepted them, so it vouches for its whole chain. If zeroes are accepted now, the client is known to
// read everything.
func (c *Chains) mayLackData(point record.Backup) error {
	if point.ZeroesRefused || c.Exports.AcceptsZeroes() {
		return nil
	}
	return fault.New(fault.NoParent, "restore point %s may lack data: it was copied while WRITE_ZEROES was accepted, by an older agent or by "+
		"sna.accept_write_zeroes", point.ID).
		WithHint("make a full backup, or use the type auto: an incremental would lack the same data")
}

// LacksNothing reports whether a backup is complete: neither its client nor those of its ancestors only sampled data. A reload may have
// changed what is accepted since the parent was chosen. What the parent may lack, the backup may lack too.
func LacksNothing(refused bool, ancestors []record.Backup) bool {
	return refused && (len(ancestors) == 0 || ancestors[0].ZeroesRefused)
}

// CheckParent returns why a restore point of a VM cannot be a parent, with the reasons of unfitParent. It also proves the whole chain.
func (c *Chains) CheckParent(ctx context.Context, vm record.VM, repo *storage.Repository, newest record.Backup) error {
	if err := c.checkOnRecord(vm, repo, newest); err != nil {
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
	return fault.New(fault.NoParent, "vm %q: its newest restore point %s cannot be a parent: %w", vm.Name, newest.ID, err).
		WithHint("make a full backup: an incremental would inherit the damage")
}

// checkOnRecord returns why a restore point cannot be a parent, as far as its record tells.
func (c *Chains) checkOnRecord(vm record.VM, repo *storage.Repository, newest record.Backup) error {
	if err := otherVM(vm, newest); err != nil {
		return err
	}
	if err := c.sameEncryption(repo, newest); err != nil {
		return err
	}
	return c.mayLackData(newest)
}

// shareDisk reports whether a disk of the VM is in the restore point with a change id. Without a change id, changes cannot be copied.
func shareDisk(vm record.VM, point record.Backup) bool {
	for _, d := range vm.Disks {
		if from := OfKey(&point, d.Key()); from != nil && from.ChangeID != "" && from.CapacityBytes <= d.CapacityBytes {
			return true
		}
	}
	return false
}

// SetBase fills in what the image of a disk is based on in an incremental, and how the disk changed since the parent.
func SetBase(d *record.DiskRun, parent *record.Backup) {
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
		return // changes are not known, so the disk is copied whole
	}
	d.Content = record.Changes
	d.Backing = BackingName(parent, *from)
	d.ParentChangeID = from.ChangeID
}

// RemovedDisks lists the ids of the parent's disks that the VM no longer has.
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

// OfKey returns the disk of a backup with a device key, or nil. VMware keeps the key as long as the disk is attached.
func OfKey(b *record.Backup, key int) *record.DiskRun {
	for i := range b.Runs {
		if b.Runs[i].Key == key {
			return &b.Runs[i]
		}
	}
	return nil
}
