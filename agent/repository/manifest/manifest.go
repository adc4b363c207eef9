// Package manifest is the format of manifest.json, the file that describes a restore point: its fields, what makes them valid, its
// digest, and the record of a backup that can be made from it. docs/manifest.schema.json is the same for other programs.
//
// It reads and writes no file: package repository does, and knows where a manifest lies.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/record"
)

// FileName is the file whose presence makes the directory of a backup a restore point.
const FileName = "manifest.json"

// Version is the version that this agent writes, and the only one that it reads.
const Version = 1

// MaxBytes limits the size of a manifest: 256 disks of 4 KiB each, and a reserve.
const MaxBytes = 4 << 20

// A Manifest describes a restore point completely: the catalog can be made again from the directories of a repository alone.
// docs/manifest.schema.json describes the JSON.
type Manifest struct {
	Version       int               `json:"version"`
	BackupID      string            `json:"backup_id"`
	Type          record.Type       `json:"backup_type"`
	Parent        string            `json:"parent,omitempty"` // backup id of the restore point that this one is based on
	Repository    string            `json:"repository_id"`    // where it was made; the catalog uses where it is found
	Policy        string            `json:"policy_id,omitempty"`
	Tags          map[string]string `json:"tags,omitempty"`
	RequestID     string            `json:"request_id,omitempty"`
	VM            VM                `json:"vm"`
	Disks         []Disk            `json:"disks"`
	RemovedDisks  []int             `json:"removed_disks,omitempty"`  // ids of disks of the parent that the VM no longer has
	Merge         *record.Merged    `json:"rewritten,omitempty"`      // set after a merge; all other fields describe the result
	Sequence      uint64            `json:"sequence,omitempty"`       // the order in which backups were made, independent of clocks; absent in older ones
	RefreshError  string            `json:"refresh_error,omitempty"`  // why the VM's disks could not be looked up before, so that the recorded ones were backed up
	ZeroesRefused bool              `json:"zeroes_refused,omitempty"` // its exports refused WRITE_ZEROES, so no data is missing that the client only sampled; absent in older ones
	CreatedAt     time.Time         `json:"created_at"`               // UTC, as every time here
	CompletedAt   time.Time         `json:"completed_at"`
	AgentVersion  string            `json:"agent_version"`
	QEMUVersion   string            `json:"qemu_version"`
	Digest        string            `json:"manifest_digest,omitempty"` // of the manifest itself, see seal.go; absent in older ones
}

// VM describes the VM when the backup was prepared.
type VM struct {
	Name          string `json:"name"`
	ContextID     string `json:"context_id,omitempty"`
	InventoryPath string `json:"inventory_path,omitempty"`
	VCenter       string `json:"vcenter,omitempty"`
	UUID          string `json:"uuid,omitempty"` // vCenter's config.uuid, where discovery reported it
}

// Disk is one disk of a restore point.
type Disk struct {
	DiskID         int            `json:"disk_id"`
	UnitNumber     int            `json:"unit_number"`
	DeviceKey      int            `json:"device_key,omitempty"` // as VMware reported it; may be absent
	Key            int            `json:"disk_key"`             // by which SBC identified the disk
	Label          string         `json:"label,omitempty"`
	CapacityBytes  int64          `json:"capacity_bytes"`
	File           string         `json:"file"` // in the manifest's directory
	Format         string         `json:"format"`
	Content        record.Content `json:"content"`           // full, or the changes since the backing image
	Change         record.Change  `json:"change,omitempty"`  // of an incremental: how the disk differs from the parent's
	Backing        string         `json:"backing,omitempty"` // path of the backing image, relative to the directory
	ChangeID       string         `json:"change_id"`
	Copied         record.Copied  `json:"copied,omitempty"`        // whole or changes, as the client copied it; absent in older ones
	CopiedWhy      string         `json:"copied_why,omitempty"`    // for a person
	CopyOrder      int            `json:"copy_order,omitempty"`    // the position, from 1, in which the client reported it
	ReceivedBytes  uint64         `json:"received_bytes"`          // on the wire
	WrittenBytes   int64          `json:"written_bytes,omitempty"` // of the file as the client wrote it, if it was squeezed since
	AllocatedBytes int64          `json:"allocated_bytes"`         // of the file
	Check          Check          `json:"check"`
	IO             string         `json:"io"`                      // QEMU's cache and aio modes when it was written
	ClusterBytes   int64          `json:"cluster_bytes,omitempty"` // of the image; absent in older ones
	ExtendedL2     bool           `json:"extended_l2,omitempty"`
	Digest         *digest.Digest `json:"digest,omitempty"` // of the file, read back at the end of the backup; absent in older ones

	Encryption *Encryption `json:"encryption,omitempty"` // absent if the image is not encrypted
}

// LUKS is the encryption format: LUKS version 1 within qcow2, as QEMU writes it.
const LUKS = "luks"

// Encryption says which key opens an image. The key itself is never in a repository.
type Encryption struct {
	Format string `json:"format"` // LUKS
	KeyID  string `json:"key_id"` // the name of the key in the configuration
}

// KeyID is the id of the key that the image is encrypted with; "" if it is not encrypted.
func (d Disk) KeyID() string {
	if d.Encryption == nil {
		return ""
	}
	return d.Encryption.KeyID
}

// Keys returns the names of the keys of the images, sorted.
func (m Manifest) Keys() []string {
	var list []string
	for _, d := range m.Disks {
		if id := d.KeyID(); id != "" {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// The results of a check.
const (
	CheckClean    = "clean"
	CheckRepaired = "repaired" // leaked clusters were freed; the data was correct
)

// Check is what qemu-img check found.
type Check struct {
	Result        string `json:"result"` // CheckClean or CheckRepaired
	LeaksRepaired int64  `json:"leaks_repaired,omitempty"`
}

// Encode returns the bytes of the manifest file, with its digest. It refuses what Decode would not accept.
func (m Manifest) Encode() ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	text, err := m.seal()
	switch {
	case err != nil:
		return nil, fmt.Errorf("manifest of %s: %w", m.BackupID, err)
	case len(text) > MaxBytes:
		return nil, fmt.Errorf("manifest of %s: has %d bytes, the limit is %d", m.BackupID, len(text), MaxBytes)
	}
	return text, nil
}

func (m Manifest) encode() ([]byte, error) {
	m.CreatedAt, m.CompletedAt = m.CreatedAt.UTC(), m.CompletedAt.UTC()
	if m.Merge != nil {
		w := *m.Merge
		w.At = w.At.UTC()
		m.Merge = &w
	}
	text, err := json.MarshalIndent(m, "", "  ")
	return append(text, '\n'), err
}

// Decode reads the bytes of a manifest file. It trusts nothing in them: they may come from another machine.
func Decode(text []byte) (Manifest, error) {
	if len(text) > MaxBytes {
		return Manifest{}, fmt.Errorf("manifest: has more than %d bytes", MaxBytes)
	}
	if !utf8.Valid(text) {
		return Manifest{}, errors.New("manifest: is not valid UTF-8")
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	if err := checkVersion(head.Version); err != nil {
		return Manifest{}, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var m Manifest
	if err := decoder.Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	if err := m.checkSeal(text); err != nil {
		return Manifest{}, err
	}
	if err := m.validate(); err != nil {
		return Manifest{}, err
	}
	if err := m.checkSpelling(text); err != nil {
		return Manifest{}, err
	}
	return m, nil
}
