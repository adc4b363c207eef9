package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// writeClaims writes the names of an active backup. It returns a *ClaimError for a name that another backup, or another disk of
// this one, has.
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

// deleteClaims deletes the names of a backup.
func deleteClaims(t *dbfile.Tx, b record.Backup) error {
	for _, key := range schema.Claims(b) {
		if err := t.Bucket(schema.BucketClaims).Delete([]byte(key)); err != nil {
			return err
		}
	}
	return nil
}

// moveClaims replaces the names of an active backup when they have changed.
func moveClaims(t *dbfile.Tx, before, after record.Backup) error {
	if slices.Equal(schema.Claims(before), schema.Claims(after)) {
		return nil
	}
	if err := deleteClaims(t, before); err != nil {
		return err
	}
	return writeClaims(t, after)
}
