package record

// A Fate is what an agent does at its start with a backup that was active when the previous agent ended.
type Fate string

// The fates.
const (
	FateResume    Fate = "resume"    // the backup continues from the state on record
	FateUndo      Fate = "undo"      // the SNA was not asked yet
	FateLose      Fate = "lose"      // the exporters ended with the host
	FateUnresolve Fate = "unresolve" // the request to the SNA may have left
)

// FateOf returns the fate of an active backup, with the reason. bootID is that of the host now; "" if it is not known.
func FateOf(b Backup, bootID string) (Fate, string) {
	switch b.State {
	case Preparing, Exporting:
		if b.Queued && b.State == Preparing {
			break // there are only leases, and no caller was told that it failed
		}
		return FateUndo, "the agent ended before the SNA was asked"
	case Calling, Unresolved, Running:
		if b.HostRestarted(bootID) {
			return FateLose, "the host was restarted while it was " + string(b.State)
		}
		if b.State == Calling {
			return FateUnresolve, "the agent ended while the SNA was being asked"
		}
	}
	return FateResume, "it is " + string(b.State)
}

// HostRestarted reports whether the host was restarted after the exports of a backup were started. It is false when either boot id is
// not known.
func (b Backup) HostRestarted(bootID string) bool {
	return bootID != "" && b.BootID != "" && b.BootID != bootID
}
