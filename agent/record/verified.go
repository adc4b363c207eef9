package record

// The results of a verification, the worst of its files.
const (
	VerifiedOK         = "ok"
	VerifiedDamaged    = "damaged"
	VerifiedIncomplete = "incomplete" // no damage was found, but not everything could be looked at, or compared
)
