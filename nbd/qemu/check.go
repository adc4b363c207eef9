package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/nbd/qcow2"
)

// ErrCorrupt is returned for an image whose metadata contradicts itself: what
// it holds must not be trusted.
var ErrCorrupt = errors.New("image is corrupt")

// CheckResult is what qemu-img check counted, in clusters unless said otherwise.
type CheckResult struct {
	Corruptions       int64
	Leaks             int64 // allocated but unused: wasted space, no harm to data
	LeaksFixed        int64 // by RepairLeaks
	CheckErrors       int64 // what could not be checked
	TotalClusters     int64
	AllocatedClusters int64
	ImageEndBytes     int64 // offset in the file behind the last cluster in use
}

// Check verifies the metadata of a qcow2 image that nobody has open, and of
// that image alone: neither parent nor any other file is opened.
//
//   - clean: nil;
//   - leaked clusters only: nil, with Leaks above 0; see RepairLeaks;
//   - corrupt: ErrCorrupt, with the counts;
//   - the check could not be done: a ToolError; ErrImageInUse if someone has
//     the image open.
//
// It reads all metadata: seconds for a big image on a slow store. An encrypted
// image is opened with Key: the check of a sound one proves the key too.
func (t Tools) Check(ctx context.Context, path string) (CheckResult, error) {
	return t.check(ctx, path, false)
}

// RepairLeaks is Check that gives leaked clusters back. It is for an image that
// Check found leaks in and nothing worse: a corrupt one gives ErrCorrupt, or a
// plain ToolError where qemu-img gave up half-way.
func (t Tools) RepairLeaks(ctx context.Context, path string) (CheckResult, error) {
	return t.check(ctx, path, true)
}

// Exit statuses of qemu-img check (qemu-img(1)). 1 is "could not be completed".
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
	if err := t.fits(path, info); err != nil {
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

// verdict turns counts and exit status into one answer, the worse of the two.
func (r CheckResult) verdict(path string, status int, failure *ToolError) error {
	switch {
	case status == checkCorrupt:
		failure.Err = fmt.Errorf("%w: %d corruptions, %d leaks: it must not be used", ErrCorrupt, r.Corruptions, r.Leaks)
		return failure
	case r.Corruptions > 0:
		return fmt.Errorf("image %s: %w: %d corruptions: it must not be used", path, ErrCorrupt, r.Corruptions)
	case r.CheckErrors > 0:
		return fmt.Errorf("image %s: qemu-img check: %d errors kept it from checking everything", path, r.CheckErrors)
	case (status == checkLeaks) != (r.Leaks > 0):
		return fmt.Errorf("image %s: qemu-img check: status %d does not fit %d leaks", path, status, r.Leaks)
	}
	return nil
}

// checkJSON is ImageCheck of QEMU's qapi/block-core.json. Counts that are 0
// are left out there, except check-errors.
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
