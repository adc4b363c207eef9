package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"

	"github.com/sendense/backup-agent/agent/record"
)

// writeClaims writes the names of an active backup, or returns a *ClaimError for one that is taken, by another backup or by
// another disk of this one.
func writeClaims(t *dbfile.Tx, b record.Backup) error {
	if err := rules.CheckNames(b); err != nil {
		return fmt.Errorf("backup %s: %w", b.ID, err)
	}
	bucket := t.Bucket(schema.BucketClaims)
	for _, key := range schema.Claims(b) {
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

// deleteClaims gives the names back.
func deleteClaims(t *dbfile.Tx, b record.Backup) error {
	for _, key := range schema.Claims(b) {
		if err := t.Bucket(schema.BucketClaims).Delete([]byte(key)); err != nil {
			return err
		}
	}
	return nil
}

// moveClaims follows a change of an active backup's names.
func moveClaims(t *dbfile.Tx, before, after record.Backup) error {
	if slices.Equal(schema.Claims(before), schema.Claims(after)) {
		return nil
	}
	if err := deleteClaims(t, before); err != nil {
		return err
	}
	return writeClaims(t, after)
}
