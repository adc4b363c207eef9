package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/record"
)

// claims lists the names that belong to a backup alone while it is active, as keys of the bucket claims.
func claims(b record.Backup) []string {
	if len(b.Runs) == 0 { // queued, or ended before its turn
		return nil
	}
	keys := []string{"directory:" + b.Directory}
	for _, r := range b.Runs {
		keys = append(keys, "unit:"+r.Unit, "export:"+r.ExportName, "image:"+r.Image)
	}
	return keys
}

// claim writes the names of an active backup, or returns a *ClaimError for one that is taken, by another backup or by
// another disk of this one.
func (t *tx) claim(b record.Backup) error {
	if err := checkNames(b); err != nil {
		return fmt.Errorf("backup %s: %w", b.ID, err)
	}
	bucket := t.Bucket(bucketClaims)
	for _, key := range claims(b) {
		if owner := bucket.Get([]byte(key)); owner != nil {
			kind, name, _ := strings.Cut(key, ":")
			return &ClaimError{Kind: kind, Name: name, BackupID: string(owner)}
		}
		if err := bucket.Put([]byte(key), []byte(b.ID)); err != nil {
			return err
		}
	}
	return nil
}

// disclaim gives the names back.
func (t *tx) disclaim(b record.Backup) error {
	for _, key := range claims(b) {
		if err := t.Bucket(bucketClaims).Delete([]byte(key)); err != nil {
			return err
		}
	}
	return nil
}

// reclaim follows a change of an active backup's names.
func (t *tx) reclaim(before, after record.Backup) error {
	if slices.Equal(claims(before), claims(after)) {
		return nil
	}
	if err := t.disclaim(before); err != nil {
		return err
	}
	return t.claim(after)
}

// checkNames refuses names that are missing or too long for a key.
func checkNames(b record.Backup) error {
	if len(b.Runs) == 0 {
		return nil
	}
	if err := checkPath("directory", b.Directory); err != nil {
		return err
	}
	for _, r := range b.Runs {
		err := errors.Join(
			record.ValidName("unit name", r.Unit),
			record.ValidName("export name", r.ExportName),
			checkPath("image", r.Image),
		)
		if err != nil {
			return fmt.Errorf("disk %d: %w", r.DiskID, err)
		}
	}
	return nil
}

func checkPath(what, path string) error {
	if path == "" || len(path) > record.MaxPathBytes {
		return fmt.Errorf("%s: path of %d bytes, want 1 to %d", what, len(path), record.MaxPathBytes)
	}
	return nil
}
