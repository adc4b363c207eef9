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

	"github.com/sendense/backup-agent/nbd/fileuser"
	"github.com/sendense/backup-agent/nbd/qcow2"
)

const (
	// FullClusterBytes is the cluster size of a full image: with ExtendedL2 the
	// fastest of those measured. Never use it for an overlay without ExtendedL2:
	// each 64 KiB written would then copy 1 MiB.
	FullClusterBytes = 1 << 20

	defaultClusterBytes = 64 << 10
	sectorBytes         = 512
	maxImageBytes       = 1 << 50 // 1 PiB; VMware ends at 62 TiB
)

// ImageSpec describes a new qcow2 image.
type ImageSpec struct {
	Path string // absolute and clean; must not exist
	// SizeBytes is the size that the guest sees: above 0, at most 1 PiB, a
	// multiple of 512. QEMU would silently round up any other; VMware has none.
	SizeBytes    int64
	ClusterBytes int64 // power of two from 512 to 2 MiB; 64 KiB if 0
	ExtendedL2   bool  // 32 subclusters to a cluster; needs clusters of 16 KiB or more
	// BackingFile is the parent, relative to the directory of Path, so that a
	// repository can be moved as a whole. Empty for a full image.
	BackingFile   string
	BackingFormat string // "qcow2" if empty

	key string // id of the key that encrypts it; "" for none
}

// iterationTime is how many milliseconds QEMU spends on key derivation each time it opens an image. That protects passwords that
// can be guessed. A key cannot be guessed, and all layers of a chain are opened, one after another. (QEMU 7.2 needs more than two
// seconds of processor time per new image to compute the number of iterations, whatever the value.)
const iterationTime = "10"

// Create makes an image that only its owner can read and write. It is encrypted
// if the tools have a key. Create never changes an existing file: the error then
// is fs.ErrExist. After an error there is no file.
//
// The parent must be a regular file, and a qcow2 one must have a valid header.
// The parent's own chain is not opened: Create costs the same at any depth,
// needs no key of the parent, and works while the parent is being read. The new
// image may be larger or smaller than its parent.
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
	// qemu-img truncates an existing file, and no option prevents that. So the
	// file is created first, exclusively, and qemu-img gets an empty file that
	// is ours.
	image, err := t.createExclusive(spec.Path)
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

// QEMU up to 8.2 fails to make an encrypted image if the kernel reports no progress of its processor time, which is counted in
// ticks (crypto/pbkdf.c). On a busy machine that happens in one of ten tries. Each try begins with an empty file.
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
		// -u: do not open the parent.
		args = append(args, "-u", "-F", s.BackingFormat, "-b", backingName(s.BackingFile))
	}
	return append(args, "--", s.Path, strconv.FormatInt(s.SizeBytes, 10))
}

// backingName keeps QEMU from reading "a:b/c" as protocol a.
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
		return fmt.Errorf("image %s: backing file %q: longer than the limit of a qcow2 header, %d bytes", s.Path, s.BackingFile, qcow2.MaxBackingName)
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
	err := fileuser.Do(t.Credential, func() error {
		stat, err := os.Lstat(parent)
		if err == nil && !stat.Mode().IsRegular() {
			err = fmt.Errorf("%s is not a regular file", parent)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("image %s: backing file: %w", spec.Path, err)
	}
	return nil
}

func (t Tools) createExclusive(path string) (image *os.File, err error) {
	err = fileuser.Do(t.Credential, func() (err error) {
		image, err = t.open(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	return image, err
}

func (t Tools) remove(path string) error {
	return fileuser.Do(t.Credential, func() error {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the unfinished image: %w", err)
		}
		return nil
	})
}
