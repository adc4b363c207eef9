// Package describe writes the state of a backup, a restore or a prune in words, for more than one command.
package describe

import (
	"cmp"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/rpc"
)

// Merge describes the progress of a merge; "" if there is none.
func Merge(w *rpc.Merge) string {
	if w == nil {
		return ""
	}
	text := w.Phase + ", " + human.Percent(w.Fraction)
	if w.Onto != "" {
		text += ", new parent " + w.Onto
	}
	if w.WaitsFor != "" {
		text += ", waits for " + human.Safe(w.WaitsFor)
	}
	return text
}

// State describes the state of a backup in one line.
func State(b rpc.Backup) string {
	line := fmt.Sprintf("%s: %s", b.BackupID, b.State)
	complete := 0
	for _, d := range b.Disks {
		if d.Complete {
			complete++
		}
	}
	if len(b.Disks) > 0 {
		line += fmt.Sprintf(", %d of %s complete", complete, human.Count(len(b.Disks), "disk"))
	}
	if n := Received(b); n > 0 {
		line += fmt.Sprintf(", %s received", human.Size(n))
	}
	if b.Failure != nil {
		line += ", " + b.Failure.Message
	}
	if b.Damaged() {
		line += ", " + Verified(b.Verified, b.InheritedFrom)
	}
	return line
}

// Received is how many bytes of the disks a backup has received, as far as known, otherwise how many came over the network. Zeroes
// that are not sent are bytes of a disk.
func Received(b rpc.Backup) int64 { return cmp.Or(b.CopiedBytes, int64(b.BytesTransferred)) }

// Progress describes the progress of a backup.
func Progress(p rpc.Progress) string {
	text := fmt.Sprintf("%s received, %s/s", human.Size(cmp.Or(p.CopiedBytes, int64(p.ReceivedBytes))), human.Size(uint64(max(p.BytesPerSecond, 0))))
	if p.FractionUnknown {
		return text + ", total unknown"
	}
	text = human.Percent(p.Fraction) + ", " + text
	if left := Remaining(p); left != "" {
		text += ", " + left + " left"
	}
	return text
}

// Remaining is the estimated time left; "" if it is not known.
func Remaining(p rpc.Progress) string {
	if p.ETASeconds <= 0 {
		return ""
	}
	return human.Duration(time.Duration(p.ETASeconds) * time.Second)
}

// Verified is what is known of the files of a restore point and of its parents; "" if it was not verified since it was made.
func Verified(v *rpc.Verification, inherited []string) string {
	switch {
	case v != nil && len(v.Damage) > 0:
		return "damaged"
	case len(inherited) > 0:
		return "based on damage"
	case v == nil:
		return ""
	case !v.DeepAt.IsZero() && !v.Undigested:
		return "deep " + human.ShortTime(v.DeepAt)
	}
	return human.ShortTime(v.At)
}
