package record

import "time"

// A Pause is a repository in which nothing new starts, because a person maintains it.
type Pause struct {
	Repository string    `json:"repository"`
	Since      time.Time `json:"since"`
	Reason     string    `json:"reason,omitempty"` // of the person who paused it; "" = none given
}
