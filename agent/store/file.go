package store

import "github.com/sendense/backup-agent/agent/store/dbfile"

// Close closes the file, after the transactions in progress have ended.
func (s *Store) Close() error { return s.file.Close() }

// SizeBytes is the size of the database in bytes, free pages within it included; 0 when the store is closed.
func (s *Store) SizeBytes() int64 { return s.file.SizeBytes() }

// Recovery is what had to be done to open the database; nil for nothing.
func (s *Store) Recovery() *Recovery { return s.file.Recovery() }

// SecondCopy commits once more. The file's two header pages describe the states that the last two transactions left, so from then on
// both describe everything before: whichever of them is damaged, it is not lost. It must be called between the record of
// something that cannot be taken back and the deed.
func (s *Store) SecondCopy() error { return s.file.SecondCopy() }

// Writable says why no transaction can be written now; nil when one can. Where none has been written lately, it writes one that changes
// nothing.
func (s *Store) Writable() error { return s.file.Writable() }

// FreeBytes is what may still be written to the database's file system.
func (s *Store) FreeBytes() (int64, error) { return s.file.FreeBytes() }

// Directory is where the database is.
func (s *Store) Directory() string { return s.file.Directory() }

// SetAside lists the damaged databases that are kept beside this one.
func (s *Store) SetAside() ([]string, error) { return s.file.SetAside() }

// SetAside lists the damaged databases that are kept beside the one at path, until somebody removes them.
func SetAside(path string) ([]string, error) { return dbfile.SetAside(path) }

// Copy copies the database at path, to try something on the copy, or to read it for long. It returns a *LockedError when another
// process has it open: the lock keeps that process from writing meanwhile.
func Copy(to, path string) error { return dbfile.Copy(to, path) }
