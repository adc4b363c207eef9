package qemu

import (
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/nbd/qcow2"
)

// Info reads the header of a qcow2 image, also of one that is being served. It
// opens no other file: it refuses an image that keeps its data elsewhere
// (qcow2.ErrExternalData), and returns the name of the backing file without
// following it. It runs no program and reads a few hundred bytes, so that a chain
// of hundreds takes milliseconds. Check finds what is not in the header.
func (t Tools) Info(path string) (qcow2.Info, error) {
	if err := checkPath(path); err != nil {
		return qcow2.Info{}, err
	}
	image, _, info, err := t.openImage(path)
	if err != nil {
		return qcow2.Info{}, err
	}
	return info, image.Close()
}

// Whole is Info for an image that no process writes to, and also finds a truncated file: qcow2.ErrCutShort, together with the
// Info, if the file ends before the last cluster in use begins. QEMU does not notice that, neither when it opens an image nor when
// it reads it. Whole reads the end of the refcounts: some tens of KiB, however large the image is.
func (t Tools) Whole(path string) (qcow2.Info, error) {
	if err := checkPath(path); err != nil {
		return qcow2.Info{}, err
	}
	image, stat, info, err := t.openImage(path)
	if err != nil {
		return qcow2.Info{}, err
	}
	defer image.Close()
	err = qcow2.CheckExtent(image, stat.Size())
	if err != nil {
		err = fmt.Errorf("image %s: %w", path, err)
	}
	if err != nil && !errors.Is(err, qcow2.ErrCutShort) {
		return qcow2.Info{}, err
	}
	return info, err
}
