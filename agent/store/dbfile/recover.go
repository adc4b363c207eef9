package dbfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
)

// A Recovery tells of a file of which one of the two header pages was damaged, and which was opened by the other one.
type Recovery struct {
	Aside string // where the damaged file is kept

	// LostChange says that the last transaction may be missing, because the damaged page may have described it. Everything before
	// it is there. Nothing that cannot be undone is done before a second transaction is written (see SecondCopy), so no such
	// thing is lost.
	LostChange bool
}

// Recovery is what was done to open the file; nil for nothing.
func (f *File) Recovery() *Recovery { return f.recovery }

// SecondCopy commits once more. The two header pages describe the last two transactions. After SecondCopy both describe
// everything before it, so that damage to one of them loses nothing. Call it between the record of something that cannot be
// undone and the act.
func (f *File) SecondCopy() error { return f.Update(func(*Tx) error { return nil }) }

// errSound says that another process has recovered the file already.
var errSound = errors.New("both header pages are whole")

// recoverHeader replaces a file with one damaged header page by a copy with two good ones. It keeps the damaged file beside it.
// At every moment the path shows one of the two, so that a crash only repeats the work. The error wraps ErrDamaged when the
// state that the good page describes is damaged too.
func recoverHeader(path string, c Content) (*Recovery, error) {
	r := &Recovery{}
	aside, err := replaceWith(path, func(fresh string) (err error) {
		if err := copyFile(fresh, path); err != nil {
			return fmt.Errorf("database %s: one of its header pages is damaged, and it cannot be copied for repair: %w", path, err)
		}
		failpoint.Reach("recover: copied")
		r.LostChange, err = mendHeader(fresh, c)
		if errors.Is(err, ErrDamaged) {
			err = Damaged(path, "one of its header pages is damaged, and what the other one describes is damaged too: "+damageIn(err))
		}
		return err
	})
	if errors.Is(err, errSound) {
		return nil, nil
	}
	r.Aside = aside
	return r, err
}

// mendHeader commits until both header pages are good, and checks every page and record. The first transaction notes that one
// may be missing.
func mendHeader(path string, c Content) (lost bool, err error) {
	db, err := openFile(path, time.Now().Add(DefaultTimeout), false)
	if err != nil {
		return false, err
	}
	f := &File{db: db, path: path}
	defer func() { err = errors.Join(err, f.Close()) }()
	harm, err := f.headers(true)
	if err != nil {
		return false, err
	}
	if !harm.any() {
		return false, errSound
	}
	if err := c.Upgrade(f); err != nil { // it may be of a newer agent, which this one must not change
		return false, err
	}
	if lost = harm.lost; lost {
		if err := c.Lost(f); err != nil {
			return lost, err
		}
	}
	for range 2 { // odd transactions write one header page, even ones the other
		if err := f.SecondCopy(); err != nil {
			return lost, err
		}
	}
	if harm, err = f.headers(false); err == nil && harm.any() {
		err = Damaged(path, "its header pages cannot be repaired")
	}
	if err != nil {
		return lost, err
	}
	err = c.Check(f)
	failpoint.Reach("recover: header whole in the copy")
	return lost, err
}

// headers says what is wrong with the two header pages. With all it also checks every other page.
func (f *File) headers(all bool) (harm headerHarm, err error) {
	err = withPages(f.path, f.db.Info().PageSize, func(p *pages) error {
		harm = p.harm
		if all {
			return p.check()
		}
		return nil
	})
	return harm, err
}

func copyFile(to, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	copied, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(copied, source)
	if err == nil {
		err = copied.Sync()
	}
	return errors.Join(err, copied.Close())
}
