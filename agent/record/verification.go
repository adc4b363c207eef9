package record

import "time"

// A Verification is what is known of the files of a restore point since it was published. Its images were checked and read at
// its end: until the first verification, the time of its end counts for both times.
type Verification struct {
	At         time.Time    `json:"at,omitzero"`          // when its files were last checked
	DeepAt     time.Time    `json:"deep_at,omitzero"`     // when they were last read whole
	Undigested bool         `json:"undigested,omitempty"` // they were read, and there was no digest to compare them with
	Damage     []FileDamage `json:"damage,omitempty"`     // the known damage; none = nothing
}

// FileDamage says what is wrong with one file of a restore point.
type FileDamage struct {
	File    string `json:"file"` // name in the directory of the restore point
	DiskID  *int   `json:"disk_id,omitempty"`
	Problem string `json:"problem"`
	Deep    bool   `json:"deep,omitempty"` // only reading the whole file finds it
}

// VerifiedAt is when the files of a restore point were last checked, or with deep read whole: by a verification, or at the end
// of the backup. It is a time of the clock of that moment. The last verification counts, whatever its date: the clock may have
// been set back since.
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

// Damaged says whether a restore point cannot be relied on: one of its files, or of its chain, is known to be damaged.
func (b *Backup) Damaged() bool { return len(b.Damage()) > 0 || len(b.DamageBelow) > 0 }
