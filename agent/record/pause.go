package record

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Pause is a repository in which nothing new starts, because a person maintains it.
type Pause struct {
	Repository string    `json:"repository"`
	Since      time.Time `json:"since"`
	Reason     string    `json:"reason,omitempty"` // of the person who paused it; "" = none given
}

// MaxPauseReason limits the reason of a pause, in bytes. It is part of messages.
const MaxPauseReason = 256

// PauseReason returns the reason of a pause without the spaces around it, or an error if it is not one line of at most MaxPauseReason bytes.
func PauseReason(text string) (string, error) {
	text = strings.TrimSpace(text)
	if len(text) > MaxPauseReason || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", fmt.Errorf("reason: want one line of at most %d bytes", MaxPauseReason)
	}
	return text, nil
}
