package dbfile

import (
	"errors"
	"fmt"
	"strings"
)

// ErrDamaged says that the file is not a database of this agent, or no longer a whole one. This package never repairs or
// replaces it.
var ErrDamaged = errors.New("damaged")

// ErrUnsynced says that a change was written but not synced to the disk. It is read from then on as if it had been made.
var ErrUnsynced = errors.New("written, but maybe not on the disk")

// Damaged makes the error for a file in which something is not as it must be.
func Damaged(path string, cause any) error {
	return fmt.Errorf("database %s: %w: %v%s", path, ErrDamaged, cause, afterDamage)
}

const afterDamage = ": restart the daemon, which sets the file aside and rebuilds the catalog from the manifests, or stop it " +
	"and put a copy back"

// damageIn is what damaged was told, of an error that it made.
func damageIn(err error) string {
	_, cause, _ := strings.Cut(err.Error(), ErrDamaged.Error()+": ")
	return strings.TrimSuffix(cause, afterDamage)
}
