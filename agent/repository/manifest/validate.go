package manifest

import (
	"errors"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd/qemu"
)

var plainName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$`)

// PlainName says whether a text can be the name of a directory or an image. None begins with a dot, so none is hidden or leads
// upwards.
func PlainName(name string) bool { return plainName.MatchString(name) }

// validate checks a manifest by itself, without any file.
func (m Manifest) validate() error {
	if err := checkVersion(m.Version); err != nil {
		return err
	}
	if !PlainName(m.BackupID) {
		return fmt.Errorf("manifest: backup_id %.300q: want 1 to 255 of A-Z a-z 0-9 . _ -, and no . or - first", m.BackupID)
	}
	for _, check := range []func() error{
		m.checkParent, m.checkTimes, m.checkDisks, m.checkRemovedDisks, m.checkMerge,
		func() error { return record.ValidName("repository_id", m.Repository) },
		func() error { return m.record().VM.Validate() },
	} {
		if err := check(); err != nil {
			return fmt.Errorf("manifest of %s: %w", m.BackupID, err)
		}
	}
	return nil
}

func checkVersion(version int) error {
	switch {
	case version == Version:
		return nil
	case version > Version:
		return fmt.Errorf("manifest: has version %d, this agent reads version %d: install a newer agent", version, Version)
	}
	return fmt.Errorf("manifest: has version %d, want %d: this is not a manifest of an agent", version, Version)
}

func (m Manifest) checkParent() error {
	switch {
	case m.Type != record.Full && m.Type != record.Incremental:
		return fmt.Errorf("backup_type %.300q: want %s or %s", m.Type, record.Full, record.Incremental)
	case m.Type == record.Full && m.Parent != "":
		return fmt.Errorf("parent %.300q: a full backup has none", m.Parent)
	case m.Type == record.Full:
		return nil
	case !PlainName(m.Parent):
		return fmt.Errorf("parent %.300q: want the backup_id of the restore point that it is based on", m.Parent)
	case m.Parent == m.BackupID:
		return errors.New("parent: is the restore point itself")
	}
	return nil
}

// checkTimes refuses years and a sequence that the database cannot store. The order of the times is not checked: clocks are set back.
func (m Manifest) checkTimes() error {
	if m.Sequence > record.MaxSequence {
		return fmt.Errorf("sequence %d: the limit is %d", m.Sequence, int64(record.MaxSequence))
	}
	for _, f := range []struct {
		name string
		time time.Time
	}{{"created_at", m.CreatedAt}, {"completed_at", m.CompletedAt}} {
		if year := f.time.UTC().Year(); year < 1970 || year > 2261 {
			return fmt.Errorf("%s: is in the year %d, want 1970 to 2261", f.name, year)
		}
	}
	return nil
}

func (m Manifest) checkMerge() error {
	switch w := m.Merge; {
	case w == nil:
		return nil
	case w.At.UTC().Year() < 1970 || w.At.UTC().Year() > 2261:
		return fmt.Errorf("rewritten: at: is in the year %d, want 1970 to 2261", w.At.UTC().Year())
	case w.Points < 1:
		return fmt.Errorf("rewritten: merged %d: want 1 or more", w.Points)
	case w.Synthetic && m.Type != record.Full:
		return errors.New("rewritten: synthetic: only a full backup can be")
	}
	return nil
}

// checkDisks checks each disk, and that no two are the same. VM.Validate checks ids and device keys.
func (m Manifest) checkDisks() error {
	if len(m.Disks) == 0 {
		return errors.New("disks: there are none")
	}
	files, keys := map[string]bool{}, map[int]bool{}
	for _, d := range m.Disks {
		if err := m.checkDisk(d); err != nil {
			return fmt.Errorf("disk %d: %w", d.DiskID, err)
		}
		file := strings.ToLower(d.File) // some file systems fold case
		if files[file] {
			return fmt.Errorf("disk %d: file %q: another disk has the same", d.DiskID, d.File)
		}
		if keys[d.Key] {
			return fmt.Errorf("disk %d: disk_key %d: another disk has the same", d.DiskID, d.Key)
		}
		files[file], keys[d.Key] = true, true
	}
	return nil
}

func (m Manifest) checkDisk(d Disk) error {
	switch {
	case !PlainName(d.File) || strings.HasPrefix(strings.ToLower(d.File), FileName):
		return fmt.Errorf("file %.300q: want the name of an image in the manifest's directory", d.File)
	case d.Format != qemu.ImageFormat:
		return fmt.Errorf("format %.300q: want %s", d.Format, qemu.ImageFormat)
	case d.Key < 0 || d.Key > math.MaxInt32:
		return fmt.Errorf("disk_key %d: want 0 to %d", d.Key, math.MaxInt32)
	case d.Copied != "" && d.Copied != record.CopiedWhole && d.Copied != record.CopiedChanges:
		return fmt.Errorf("copied %.300q: want %s or %s", d.Copied, record.CopiedWhole, record.CopiedChanges)
	case d.CopyOrder < 0 || d.CopyOrder > record.MaxDisks:
		return fmt.Errorf("copy_order %d: want 1 to %d", d.CopyOrder, record.MaxDisks)
	case d.AllocatedBytes < 0:
		return fmt.Errorf("allocated_bytes %d: is negative", d.AllocatedBytes)
	case d.WrittenBytes < 0 || d.WrittenBytes > 0 && d.Content != record.Changes:
		return fmt.Errorf("written_bytes %d: want 1 or more, and only if the image holds changes", d.WrittenBytes)
	case d.Check.Result != CheckClean && d.Check.Result != CheckRepaired:
		return fmt.Errorf("check: result %.300q: want %s or %s", d.Check.Result, CheckClean, CheckRepaired)
	case d.Check.LeaksRepaired < 0:
		return fmt.Errorf("check: leaks_repaired %d: is negative", d.Check.LeaksRepaired)
	}
	if e := d.Encryption; e != nil {
		if err := qemu.CheckKeyID(e.KeyID); err != nil || e.Format != LUKS {
			return fmt.Errorf("encryption: format %.300q, key_id %.300q: want %s and the name of a key", e.Format, e.KeyID, LUKS)
		}
	}
	if d.Digest != nil {
		if err := d.Digest.Validate(); err != nil {
			return fmt.Errorf("digest: %w", err)
		}
	}
	return m.checkContent(d)
}

// checkContent checks that a disk has a backing image of the parent if, and only if, it holds changes.
func (m Manifest) checkContent(d Disk) error {
	switch {
	case d.Content != record.WholeDisk && d.Content != record.Changes:
		return fmt.Errorf("content %.300q: want %s or %s", d.Content, record.WholeDisk, record.Changes)
	case m.Type == record.Full && (d.Content != record.WholeDisk || d.Change != ""):
		return errors.New("content, change: want a whole disk and no change in a full backup")
	case m.Type == record.Incremental && !slices.Contains(changes, d.Change):
		return fmt.Errorf("change %.300q: want one of %s in an incremental", d.Change, changes)
	case d.Content == record.WholeDisk && d.Backing != "":
		return fmt.Errorf("backing %.300q: a whole disk has none", d.Backing)
	case d.Content == record.WholeDisk:
		return nil
	}
	file := path.Base(d.Backing)
	if !PlainName(file) || d.Backing != "../"+m.Parent+"/"+file {
		return fmt.Errorf("backing %.300q: want ../%s/ and the name of an image of the parent", d.Backing, m.Parent)
	}
	return nil
}

var changes = []record.Change{record.Same, record.Grown, record.Added, record.Replaced}

func (m Manifest) checkRemovedDisks() error {
	if m.Type == record.Full && len(m.RemovedDisks) > 0 {
		return errors.New("removed_disks: a full backup has no parent that had them")
	}
	seen := map[int]bool{}
	for _, id := range m.RemovedDisks {
		if id < 0 || id > 999 || seen[id] {
			return fmt.Errorf("removed_disks: %d: want different disk ids of 0 to 999", id)
		}
		seen[id] = true
	}
	return nil
}
