package qemu

import (
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/nbd/qcow2"
)

// Info reads the header of a qcow2 image, also of one that is being served. It
// opens no other file: an image that keeps its data elsewhere is refused
// (qcow2.ErrExternalData), and the backing file is named, never followed. It runs no tool of QEMU and reads a few hundred
// bytes, so that a chain of hundreds takes no time; what is not in the header, Check finds.
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

// Whole is Info of an image that nobody writes to. With an error that wraps qcow2.ErrCutShort it says that the file ends before the last
// cluster that the image has in use begins; what the header says is told all the same. That is the one thing of an image which QEMU does not look at when it opens it and which no
// read tells. It reads the end of the refcounts, some tens of KiB however large the image is.
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
