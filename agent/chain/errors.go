package chain

// An unseenError says that nothing could be looked at, whatever its cause.
type unseenError struct{ err error }

func (e *unseenError) Error() string { return e.err.Error() }
