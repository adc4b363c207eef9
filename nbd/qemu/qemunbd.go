package qemu

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/iomode"
)

// DefaultShared is how many connections one export serves at the same time. SBC
// opens 10 (contract §5); the others are for our probe, for an operator, and for
// connections of a client that has just died. A connection beyond the limit waits
// without an answer. There is a limit all the same: 0 means no limit to qemu-nbd,
// and any local process could then open connections until memory is exhausted.
const DefaultShared = 16

// MinShared is the lowest Shared that works: with 1, the second connection of SBC
// never gets an answer (contract §5).
const MinShared = 2

// MinRateLimit is the lowest RateLimit, in bytes per second. SBC writes up to
// 32 MiB in one request, and a request times out after some minutes.
const MinRateLimit = 1 << 20

// ServerOptions describes one qemu-nbd that serves one qcow2 image on a
// listening socket that it inherits (LISTEN_FDS=1, descriptor 3): qemu-nbd then
// refuses --port, --bind and --socket.
type ServerOptions struct {
	Binary      string // path of qemu-nbd; "qemu-nbd" if empty
	Image       string // absolute, clean path of a qcow2 image
	Export      string // see CheckExport
	Description string // free text that every client can read, optional; see nbd.ExportInfo
	IO          iomode.Mode
	Shared      int // connections at the same time, 2 to 1024; DefaultShared if 0
	// RateLimit is the limit of bytes written per second, zeroes included; 0 for
	// none. It cannot be changed while qemu-nbd runs.
	RateLimit int64
	ReadOnly  bool // for a restore: no client can write, the image lock is shared
	// RefuseZeroes fails each WRITE_ZEROES with EIO, before it changes anything: a client that asks for zeroes without having
	// read its source then reads it and writes. Written zeroes need no space all the same. See refuseZeroes.
	RefuseZeroes bool
	SizeBytes    int64 // of the disk; 0 if unknown, and then RefuseZeroes is slower
	Foreground   bool  // do not fork once serving; for a supervisor that waits for the process itself
	// Keys are those of the image and of its parents, in this order; empty if none is encrypted.
	Keys []KeyFile
}

// A KeyFile is where qemu-nbd finds a key. The zero value is for an image that is not encrypted.
type KeyFile struct {
	ID   string // see CheckKeyID
	Path string // absolute; the key is the whole content of the file, to the last byte
}

var keyID = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,63}$`)

// CheckKeyID refuses an id that QEMU does not accept as the name of an object.
func CheckKeyID(id string) error {
	if !keyID.MatchString(id) {
		return fmt.Errorf("key %q: want 1 to 64 letters, digits, dots, underscores or dashes, and a letter first", id)
	}
	return nil
}

// Args returns the whole command line, the binary first.
func (o ServerOptions) Args() ([]string, error) {
	if o.Binary == "" {
		o.Binary = "qemu-nbd"
	}
	if o.Shared == 0 {
		o.Shared = DefaultShared
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	args := []string{o.Binary}
	if !o.Foreground {
		// The parent exits when the child serves the export, or fails with the reason.
		args = append(args, "--fork")
	}
	args = append(
		args,
		"--persistent", // stay after the last client: SBC disconnects and connects again
		"--export-name="+o.Export,
		"--shared="+strconv.Itoa(o.Shared),
		"--cache="+o.IO.Cache,
		"--aio="+o.IO.AIO,
	)
	if o.Description != "" {
		args = append(args, "--description="+o.Description)
	}
	switch {
	case o.ReadOnly:
		args = append(args, "--read-only")
	case o.RefuseZeroes:
		// Zeroes are detected below the filter that refuses them, see detectZeroes.
		args = append(args, "--discard=unmap")
	default:
		// detect-zeroes=unmap is refused unless discard=unmap.
		args = append(args, "--discard=unmap", "--detect-zeroes=unmap")
	}
	return append(args, o.image()...), nil
}

func (o ServerOptions) validate() error {
	if err := nbd.CheckExport(o.Export); err != nil {
		return err
	}
	if err := checkPath(o.Image); err != nil {
		return fmt.Errorf("export %s: %w", o.Export, err)
	}
	if err := o.IO.Validate(); err != nil {
		return fmt.Errorf("export %s: %w", o.Export, err)
	}
	if o.Shared < MinShared || o.Shared > 1024 {
		return fmt.Errorf("export %s: shared is %d: the backup client needs at least %d connections, and the limit is 1024",
			o.Export, o.Shared, MinShared)
	}
	if o.ReadOnly && o.RefuseZeroes {
		return fmt.Errorf("export %s: ReadOnly and RefuseZeroes exclude each other: a read-only export refuses all writes", o.Export)
	}
	if o.RateLimit != 0 && o.RateLimit < MinRateLimit {
		return fmt.Errorf("export %s: rate limit of %d bytes per second: want 0 for none, or at least %d", o.Export, o.RateLimit, MinRateLimit)
	}
	for _, k := range o.Keys {
		if k == (KeyFile{}) {
			continue
		}
		if err := cmp.Or(CheckKeyID(k.ID), checkPath(k.Path)); err != nil {
			return fmt.Errorf("export %s: %w", o.Export, err)
		}
	}
	if len(o.Description) > nbd.MaxDescription || !utf8.ValidString(o.Description) ||
		strings.ContainsFunc(o.Description, unicode.IsControl) {
		return fmt.Errorf("export %s: description must be at most %d bytes of UTF-8 with no control characters", o.Export, nbd.MaxDescription)
	}
	return nil
}
