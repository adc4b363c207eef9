package store

import "github.com/sendense/backup-agent/agent/store/dbfile"

// Close closes the database after the transactions in progress.
func (s *Store) Close() error { return s.file.Close() }

// SizeBytes is the size of the database in bytes, with its free pages; 0 when the store is closed.
func (s *Store) SizeBytes() int64 { return s.file.SizeBytes() }

// Recovery is what was done to open the database; nil for nothing.
func (s *Store) Recovery() *Recovery { return s.file.Recovery() }

// SecondCopy commits once more. The two header pages of the file describe the last two transactions. After SecondCopy both
// describe everything before it, so that damage to one of them loses nothing. Call it between the record of something that
// cannot be undone and the act.
func (s *Store) SecondCopy() error { return s.file.SecondCopy() }

// Writable says why no transaction can be written now; nil when one can. If none was written lately, it writes one that changes
// nothing.
func (s *Store) Writable() error { return s.file.Writable() }

// FreeBytes is the free space of the file system of the database.
func (s *Store) FreeBytes() (int64, error) { return s.file.FreeBytes() }

// Directory is the directory of the database.
func (s *Store) Directory() string { return s.file.Directory() }

// SetAside lists the damaged databases that are kept beside this one.
func (s *Store) SetAside() ([]string, error) { return s.file.SetAside() }

// SetAside lists the damaged databases that are kept beside the one at path, until somebody removes them.
func SetAside(path string) ([]string, error) { return dbfile.SetAside(path) }

// Copy copies the database at path, to try something on the copy or to read it for long. It returns a *LockedError when another
// process has the database open. The lock keeps other processes from writing meanwhile.
func Copy(to, path string) error { return dbfile.Copy(to, path) }
