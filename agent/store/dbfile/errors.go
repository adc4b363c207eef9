package dbfile

import (
	"errors"
	"fmt"
	"strings"
)

// ErrDamaged says that the file is not a database of this agent, or is damaged.
var ErrDamaged = errors.New("damaged")

// ErrUnsynced says that a change was written, but not synced to the disk. Later transactions read it.
var ErrUnsynced = errors.New("written, but maybe not on the disk")

// Damaged makes the error of a file with wrong content.
func Damaged(path string, cause any) error {
	return fmt.Errorf("database %s: %w: %v%s", path, ErrDamaged, cause, afterDamage)
}

const afterDamage = ": restart the daemon, which sets the file aside and rebuilds the catalog from the manifests, or stop it " +
	"and put a copy back"

// damageIn is the cause that was given to Damaged.
func damageIn(err error) string {
	_, cause, _ := strings.Cut(err.Error(), ErrDamaged.Error()+": ")
	return strings.TrimSuffix(cause, afterDamage)
}
