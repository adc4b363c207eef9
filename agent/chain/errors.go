package chain

// An unseenError reports that nothing could be read, whatever the cause. errors.Is and errors.As do not find the cause.
type unseenError struct{ err error }

// Error implements error.
func (e *unseenError) Error() string { return e.err.Error() }
