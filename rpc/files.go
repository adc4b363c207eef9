package rpc

import "time"

// What is said on the socket of a restore's files ([Restore.FilesSocket]). It is no JSON-RPC, because what passes is mostly the
// content of files. A connection carries one request: a line of JSON, a [FilesRequest]. It is answered by a line of JSON, a
// [FilesAnswer]. After that of a "read" without an error come pieces, each a length of four bytes, the most significant first,
// and as many bytes; a length of 0 ends them, and a last FilesAnswer tells whether all has come.

// The operations of a FilesRequest.
const (
	FilesVolumes = "volumes" // list what is on the disk
	FilesList    = "list"    // list a directory, or show what else is at a path
	FilesRead    = "read"    // the content of a file, or of a directory and all below it as a tar archive
)

// FilesRequest asks for something on a disk.
type FilesRequest struct {
	Op     string `json:"op"`
	Volume string `json:"volume,omitempty"` // as [FilesVolumes] names it; none is the one on which the path is there
	Path   []byte `json:"path,omitempty"`   // absolute; bytes, as file systems have it, and so in base64
}

// FilesAnswer is what was found.
type FilesAnswer struct {
	Error   string      `json:"error,omitempty"`
	Volumes []Volume    `json:"volumes,omitempty"`
	Volume  string      `json:"volume,omitempty"` // on which the path was found
	Path    []byte      `json:"path,omitempty"`   // as it is spelt there
	Entry   *FileEntry  `json:"entry,omitempty"`  // what is at the path, links followed within the volume
	Entries []FileEntry `json:"entries,omitempty"`
}

// Volume is a partition, a logical volume or a whole disk, by what is on it.
type Volume struct {
	Name      string `json:"name"`       // p1 for partition 1, VG/LV for a logical volume, disk for a disk without partitions
	Type      string `json:"type"`       // of what is on it: ext4, xfs, ntfs, swap, crypto_LUKS, ...
	SizeBytes int64  `json:"size_bytes"` //
	Label     string `json:"label,omitempty"`
	Readable  bool   `json:"readable"` // it holds a file system
}

// FileEntry is one thing in a directory.
type FileEntry struct {
	Name      []byte    `json:"name"`
	Mode      uint32    `json:"mode"` // st_mode: kind and permissions
	SizeBytes int64     `json:"size_bytes"`
	UID       int64     `json:"uid"`
	GID       int64     `json:"gid"`
	Modified  time.Time `json:"modified"`
	Target    []byte    `json:"target,omitempty"` // of a symbolic link
}

// The kinds of a FileEntry, as st_mode has them.
const (
	ModeKind    = 0o170000
	ModeDir     = 0o040000
	ModeRegular = 0o100000
	ModeLink    = 0o120000
)

// Kind is the part of Mode that says what it is.
func (e FileEntry) Kind() uint32 { return e.Mode & ModeKind }
