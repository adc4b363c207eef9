package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sendense/backup-agent/nbd/qcow2"
)

const (
	// FullClusterBytes is the cluster size of a full image: together with
	// ExtendedL2 the fastest of those measured. Never use it on an overlay
	// without ExtendedL2: each 64 KiB written would then copy 1 MiB.
	FullClusterBytes = 1 << 20

	defaultClusterBytes = 64 << 10
	sectorBytes         = 512
	maxImageBytes       = 1 << 50 // 1 PiB; VMware ends at 62 TiB
)

// ImageSpec describes a qcow2 image to make.
type ImageSpec struct {
	Path string // absolute and clean; nothing may exist there
	// SizeBytes is the size the guest sees: above 0, at most 1 PiB, a multiple
	// of 512. QEMU would round another one up in silence; VMware has none.
	SizeBytes    int64
	ClusterBytes int64 // power of two from 512 to 2 MiB; 64 KiB if 0
	ExtendedL2   bool  // 32 subclusters to a cluster; needs clusters of 16 KiB or more
	// BackingFile is the parent, relative to the directory of Path, so that a
	// repository can be moved as a whole. Empty for a full image.
	BackingFile   string
	BackingFormat string // "qcow2" if empty

	key string // id of the one to encrypt it with
}

// iterationTime is for how many milliseconds the key is stretched whenever an image is opened. That makes a password that
// could be guessed more costly to guess. A key cannot be guessed, and a chain of images is opened link by link. (To find out
// how often that is costs QEMU 7.2 more than two seconds of processor time for each image made, whatever the number.)
const iterationTime = "10"

// Create makes the image, readable and writable by its owner only, and encrypted where the tools have a key. It never
// touches a file that exists: the error then is fs.ErrExist. After an error
// there is no file.
//
// The parent must exist and be a regular file, and a qcow2 one must have a sane
// header, but its own chain is not opened: creating costs the same at any
// depth, needs no key of the parent, and works while the parent is being read.
// The new image may be larger or smaller than its parent.
func (t Tools) Create(ctx context.Context, spec ImageSpec) error {
	if spec.ClusterBytes == 0 {
		spec.ClusterBytes = defaultClusterBytes
	}
	if spec.BackingFile != "" && spec.BackingFormat == "" {
		spec.BackingFormat = "qcow2"
	}
	if err := spec.validate(); err != nil {
		return err
	}
	if err := t.checkParent(spec); err != nil {
		return err
	}
	// qemu-img truncates whatever it finds, and has no option against it. So
	// the name is taken first, by the one call the kernel makes exclusive, and
	// qemu-img is sent to a file that is empty and ours.
	image, err := t.take(spec.Path)
	if err != nil {
		return fmt.Errorf("image %s: create: %w", spec.Path, err)
	}
	defer image.Close() //nolint:errcheck // qemu-img writes, and not through this
	c := call{verb: "create", path: spec.Path, image: image, write: true, limits: creating()}
	spec.key = c.keys.id(t.Key)
	if err := t.create(ctx, c, spec.args()); err != nil {
		return errors.Join(err, t.remove(spec.Path))
	}
	return nil
}

// QEMU up to 8.2 gives up on an encrypted image when the kernel shows it no progress of its own processor time, which goes in
// ticks (crypto/pbkdf.c). On a busy machine that is one time in ten; it begins with an empty file each time.
const (
	noProgress  = "Unable to get accurate CPU usage"
	createTries = 12
)

func (t Tools) create(ctx context.Context, c call, args []string) (err error) {
	for range createTries {
		_, err = t.run(ctx, c, args...)
		var failure *ToolError
		if !errors.As(err, &failure) || !strings.Contains(failure.Stderr, noProgress) {
			break
		}
	}
	return err
}

func (s ImageSpec) args() []string {
	options := []string{
		"compat=1.1",
		"cluster_size=" + strconv.FormatInt(s.ClusterBytes, 10),
		"extended_l2=" + map[bool]string{true: "on", false: "off"}[s.ExtendedL2],
	}
	if s.key != "" {
		options = append(options, "encrypt.format=luks", "encrypt.key-secret="+s.key, "encrypt.iter-time="+iterationTime)
	}
	args := []string{"-q", "-f", "qcow2", "-o", strings.Join(options, ",")}
	if s.BackingFile != "" {
		// -u: do not open the parent; its chain is nobody's business here.
		args = append(args, "-u", "-F", s.BackingFormat, "-b", backingName(s.BackingFile))
	}
	return append(args, "--", s.Path, strconv.FormatInt(s.SizeBytes, 10))
}

// backingName keeps QEMU from taking "a:b/c" for protocol a.
func backingName(relative string) string {
	if first, _, _ := strings.Cut(relative, "/"); strings.Contains(first, ":") {
		return "./" + relative
	}
	return relative
}

func (s ImageSpec) validate() error {
	if err := checkPath(s.Path); err != nil {
		return err
	}
	if s.SizeBytes <= 0 || s.SizeBytes > maxImageBytes || s.SizeBytes%sectorBytes != 0 {
		return fmt.Errorf("image %s: size %d: must be a multiple of 512 from 512 bytes to 1 PiB", s.Path, s.SizeBytes)
	}
	if s.ClusterBytes < sectorBytes || s.ClusterBytes > qcow2.MaxClusterBytes || s.ClusterBytes&(s.ClusterBytes-1) != 0 {
		return fmt.Errorf("image %s: cluster size %d: must be a power of two from 512 bytes to 2 MiB", s.Path, s.ClusterBytes)
	}
	if s.ExtendedL2 && s.ClusterBytes < 16<<10 {
		return fmt.Errorf("image %s: cluster size %d: extended_l2 needs at least 16 KiB", s.Path, s.ClusterBytes)
	}
	if s.BackingFile == "" {
		if s.BackingFormat != "" {
			return fmt.Errorf("image %s: backing format %q without a backing file", s.Path, s.BackingFormat)
		}
		return nil
	}
	if filepath.IsAbs(s.BackingFile) {
		return fmt.Errorf("image %s: backing file %q: must be relative to the image's directory", s.Path, s.BackingFile)
	}
	if filepath.Clean(s.BackingFile) != s.BackingFile {
		return fmt.Errorf("image %s: backing file %q: must be clean, such as %q", s.Path, s.BackingFile, filepath.Clean(s.BackingFile))
	}
	if len(backingName(s.BackingFile)) > qcow2.MaxBackingName {
		return fmt.Errorf("image %s: backing file %q: longer than the %d bytes a qcow2 header holds", s.Path, s.BackingFile, qcow2.MaxBackingName)
	}
	if s.BackingFormat != "qcow2" && s.BackingFormat != "raw" {
		return fmt.Errorf("image %s: backing format %q: use qcow2 or raw", s.Path, s.BackingFormat)
	}
	return nil
}

func (t Tools) checkParent(spec ImageSpec) error {
	if spec.BackingFile == "" {
		return nil
	}
	parent := filepath.Join(filepath.Dir(spec.Path), spec.BackingFile)
	if err := checkPath(parent); err != nil {
		return fmt.Errorf("image %s: backing file: %w", spec.Path, err)
	}
	if parent == spec.Path {
		return fmt.Errorf("image %s: backing file is the image itself", spec.Path)
	}
	if spec.BackingFormat == "qcow2" {
		image, _, _, err := t.openImage(parent)
		if err != nil {
			return fmt.Errorf("image %s: backing file: %w", spec.Path, err)
		}
		return image.Close()
	}
	err := as(t.Credential, func() error {
		stat, err := os.Lstat(parent)
		if err == nil && !stat.Mode().IsRegular() {
			err = fmt.Errorf("%s is no regular file", parent)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("image %s: backing file: %w", spec.Path, err)
	}
	return nil
}

func (t Tools) take(path string) (image *os.File, err error) {
	err = as(t.Credential, func() (err error) {
		image, err = t.open(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	return image, err
}

func (t Tools) remove(path string) error {
	return as(t.Credential, func() error {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the unfinished image: %w", err)
		}
		return nil
	})
}
