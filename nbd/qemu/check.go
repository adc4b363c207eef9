package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/nbd/qcow2"
)

// ErrCorrupt: the metadata of an image contradicts itself. Its content must not
// be trusted.
var ErrCorrupt = errors.New("image is corrupt")

// CheckResult holds the counts of qemu-img check, in clusters unless the name
// has another unit.
type CheckResult struct {
	Corruptions       int64
	Leaks             int64 // allocated but unused: wasted space, the data is intact
	LeaksFixed        int64 // by RepairLeaks
	CheckErrors       int64 // errors that kept a part from being checked
	TotalClusters     int64
	AllocatedClusters int64
	ImageEndBytes     int64 // offset of the end of the last cluster in use
}

// Check verifies the metadata of a qcow2 image that no process has open. It opens
// neither the parent nor any other file. It returns
//
//   - nil for an image without faults;
//   - nil and Leaks above 0 for leaked clusters only; see RepairLeaks;
//   - ErrCorrupt and the counts for a corrupt image;
//   - a ToolError if the check failed; ErrImageInUse if a process has the image
//     open.
//
// It reads all metadata: seconds for a large image on a slow store. It opens an
// encrypted image with Key, so an image without faults also proves the key.
func (t Tools) Check(ctx context.Context, path string) (CheckResult, error) {
	return t.check(ctx, path, false)
}

// RepairLeaks is Check that also frees leaked clusters. Call it if Check found
// leaks and nothing worse: for a corrupt image the error is ErrCorrupt, or a
// plain ToolError if qemu-img stopped before the end.
func (t Tools) RepairLeaks(ctx context.Context, path string) (CheckResult, error) {
	return t.check(ctx, path, true)
}

// Exit statuses of qemu-img check (qemu-img(1)). 1: the check was not completed.
const (
	checkCorrupt = 2
	checkLeaks   = 3
)

func (t Tools) check(ctx context.Context, path string, repair bool) (CheckResult, error) {
	if err := checkPath(path); err != nil {
		return CheckResult{}, err
	}
	image, stat, info, err := t.openImage(path)
	if err != nil {
		return CheckResult{}, err
	}
	defer image.Close() //nolint:errcheck // only read
	if err := t.checkKey(path, info); err != nil {
		return CheckResult{}, err
	}
	c := call{verb: "check", path: path, image: image, limits: checking(stat)}
	name, err := aloneNode(path, c.keys.id(t.Key)).name()
	if err != nil {
		return CheckResult{}, err
	}
	args := []string{"-f", "qcow2", "--output=json"}
	if repair {
		args = append(args, "-r", "leaks")
		c.write, c.limits = true, repairing(stat)
	}
	output, runErr := t.run(ctx, c, append(args, "--", name)...)
	var failure *ToolError
	status := 0
	if errors.As(runErr, &failure) {
		if status = failure.ExitCode; status != checkCorrupt && status != checkLeaks {
			return CheckResult{}, runErr
		}
	}
	result, err := parseCheck(output)
	if err != nil {
		return CheckResult{}, errors.Join(fmt.Errorf("image %s: qemu-img check: %w", path, err), runErr)
	}
	return result, result.verdict(path, status, failure)
}

// verdict returns the error for counts and exit status, the worse of the two.
func (r CheckResult) verdict(path string, status int, failure *ToolError) error {
	switch {
	case status == checkCorrupt:
		failure.Err = fmt.Errorf("%w: %d corruptions, %d leaks: the image must not be used", ErrCorrupt, r.Corruptions, r.Leaks)
		return failure
	case r.Corruptions > 0:
		return fmt.Errorf("image %s: %w: %d corruptions: the image must not be used", path, ErrCorrupt, r.Corruptions)
	case r.CheckErrors > 0:
		return fmt.Errorf("image %s: qemu-img check: %d errors: the check is incomplete", path, r.CheckErrors)
	case (status == checkLeaks) != (r.Leaks > 0):
		return fmt.Errorf("image %s: qemu-img check: status %d contradicts %d leaks", path, status, r.Leaks)
	}
	return nil
}

// checkJSON is ImageCheck of QEMU's qapi/block-core.json. QEMU leaves out counts
// of 0, except check-errors.
type checkJSON struct {
	Format            string `json:"format"`
	CheckErrors       *int64 `json:"check-errors"`
	Corruptions       int64  `json:"corruptions"`
	Leaks             int64  `json:"leaks"`
	LeaksFixed        int64  `json:"leaks-fixed"`
	TotalClusters     int64  `json:"total-clusters"`
	AllocatedClusters int64  `json:"allocated-clusters"`
	ImageEndOffset    int64  `json:"image-end-offset"`
}

func parseCheck(output []byte) (CheckResult, error) {
	var raw checkJSON
	if err := json.Unmarshal(output, &raw); err != nil {
		return CheckResult{}, fmt.Errorf("unreadable answer: %w", err)
	}
	if raw.Format != "qcow2" {
		return CheckResult{}, fmt.Errorf("%w: format %q", qcow2.ErrNotQcow2, raw.Format)
	}
	if raw.CheckErrors == nil {
		return CheckResult{}, errors.New("answer without a count of check errors")
	}
	result := CheckResult{
		Corruptions:       raw.Corruptions,
		Leaks:             raw.Leaks,
		LeaksFixed:        raw.LeaksFixed,
		CheckErrors:       *raw.CheckErrors,
		TotalClusters:     raw.TotalClusters,
		AllocatedClusters: raw.AllocatedClusters,
		ImageEndBytes:     raw.ImageEndOffset,
	}
	for _, count := range []int64{
		result.Corruptions, result.Leaks, result.LeaksFixed, result.CheckErrors,
		result.TotalClusters, result.AllocatedClusters, result.ImageEndBytes,
	} {
		if count < 0 {
			return CheckResult{}, errors.New("answer with a negative count")
		}
	}
	return result, nil
}
