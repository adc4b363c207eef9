// Package guestfiles is the protocol on the socket of a restore's files (rpc.Restore.FilesSocket): the values on the wire, and the client.
// It is not JSON-RPC, because most of it is the content of files. The reader that answers is cmd/sendense-agent/filereader.
//
// A connection carries one request: a line of JSON, a [Request]. The answer is a line of JSON, an [Answer]. After the answer to a "read"
// without an error the content follows in pieces: a length of four bytes, the most significant first, and that many bytes. A length of 0
// ends the pieces, and a last Answer says whether the content is complete.
package guestfiles

import "time"

// The operations of a Request.
const (
	OpVolumes = "volumes" // list the volumes of the disk
	OpList    = "list"    // list a directory, or show another entry at a path
	OpRead    = "read"    // the content of a file, or of a directory as a tar archive with everything below it
)

// Request asks the reader of a disk's files.
type Request struct {
	Op     string `json:"op"`
	Volume string `json:"volume,omitempty"` // as [OpVolumes] names it; "" is the one volume that has the path
	Path   []byte `json:"path,omitempty"`   // absolute; base64, because paths of file systems are bytes
}

// Answer is the answer to a Request.
type Answer struct {
	Error   string   `json:"error,omitempty"`
	Volumes []Volume `json:"volumes,omitempty"`
	Volume  string   `json:"volume,omitempty"` // the volume that has the path
	Path    []byte   `json:"path,omitempty"`   // as the volume spells it
	Entry   *Entry   `json:"entry,omitempty"`  // the entry at the path; links are followed within the volume
	Entries []Entry  `json:"entries,omitempty"`
}

// Volume is a partition, a logical volume, or a whole disk, with what it contains.
type Volume struct {
	Name      string `json:"name"` // p1 for partition 1, VG/LV for a logical volume, disk for a disk without partitions
	Type      string `json:"type"` // of its content: ext4, xfs, ntfs, swap, crypto_LUKS, ...
	SizeBytes int64  `json:"size_bytes"`
	Label     string `json:"label,omitempty"`
	Readable  bool   `json:"readable"` // it contains a file system
}

// Entry is one entry of a directory.
type Entry struct {
	Name      []byte    `json:"name"`
	Mode      uint32    `json:"mode"` // st_mode: type and permissions
	SizeBytes int64     `json:"size_bytes"`
	UID       int64     `json:"uid"`
	GID       int64     `json:"gid"`
	Modified  time.Time `json:"modified"`
	Target    []byte    `json:"target,omitempty"` // of a symbolic link
}

// The types of a Entry, as in st_mode.
const (
	ModeKind    = 0o170000
	ModeDir     = 0o040000
	ModeRegular = 0o100000
	ModeLink    = 0o120000
)

// Kind is the type: the part of Mode that says whether it is a file, a directory, a link, and so on.
func (e Entry) Kind() uint32 { return e.Mode & ModeKind }
