package record

import "time"

// A Verification is what is known of the files of a restore point since it was published. When it was, its images had just
// been checked and read: until it is verified for the first time, the time of its end stands for both times.
type Verification struct {
	At         time.Time    `json:"at,omitzero"`          // when its files were last found to be what they were, or damaged
	DeepAt     time.Time    `json:"deep_at,omitzero"`     // when they were last read whole for that
	Undigested bool         `json:"undigested,omitempty"` // they were read, and there was nothing to compare them with
	Damage     []FileDamage `json:"damage,omitempty"`     // what was found, and not found to be gone since; none = nothing
}

// FileDamage says what is wrong with one file of a restore point.
type FileDamage struct {
	File    string `json:"file"` // name in the directory of the restore point
	DiskID  *int   `json:"disk_id,omitempty"`
	Problem string `json:"problem"`
	Deep    bool   `json:"deep,omitempty"` // only reading the whole file shows it
}

// VerifiedAt is when the files of a restore point were last looked at, or read whole, be it at the end of the backup, as the clock
// of that moment told it. What was found last counts, whatever its date: the clock may have been set back since.
func (b *Backup) VerifiedAt(deep bool) time.Time {
	v := b.Verified
	switch {
	case v != nil && deep && !v.DeepAt.IsZero():
		return v.DeepAt
	case v != nil && !deep && !v.At.IsZero():
		return v.At
	}
	return b.EndedAt
}

// Damage is what is known to be wrong with the files of a restore point.
func (b *Backup) Damage() []FileDamage {
	if b.Verified == nil {
		return nil
	}
	return b.Verified.Damage
}

// Damaged says whether a restore point cannot be relied on: a file of it, or of what it stands on, is known to be damaged.
func (b *Backup) Damaged() bool { return len(b.Damage()) > 0 || len(b.DamageBelow) > 0 }
