package sna

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// redacted stands for a secret that is set.
const redacted = "[redacted]"

func redact(secret string) string {
	if secret == "" {
		return ""
	}
	return redacted
}

// plainStart has StartRequest's fields and none of its methods.
type plainStart StartRequest

func (r StartRequest) safe() plainStart {
	r.VCenterPassword = redact(r.VCenterPassword)
	return plainStart(r)
}

// String is the request without its password.
func (r StartRequest) String() string { return fmt.Sprintf("%+v", r.safe()) }

// Format keeps the password out of every verb, %#v included.
func (r StartRequest) Format(f fmt.State, verb rune) { formatSafe(f, verb, r.safe()) }

// LogValue is the request without its password.
func (r StartRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalJSON is the request without its password, for logs and dumps; the body
// that Start sends is encoded separately.
func (r StartRequest) MarshalJSON() ([]byte, error) { return json.Marshal(r.safe()) }

// plainDiscover has DiscoverRequest's fields and none of its methods.
type plainDiscover DiscoverRequest

func (r DiscoverRequest) safe() plainDiscover {
	r.Password = redact(r.Password)
	return plainDiscover(r)
}

// String is the request without its password.
func (r DiscoverRequest) String() string { return fmt.Sprintf("%+v", r.safe()) }

// Format keeps the password out of every verb, %#v included.
func (r DiscoverRequest) Format(f fmt.State, verb rune) { formatSafe(f, verb, r.safe()) }

// LogValue is the request without its password.
func (r DiscoverRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalJSON is the request without its password, for logs and dumps; the body
// that Discover sends is encoded separately.
func (r DiscoverRequest) MarshalJSON() ([]byte, error) { return json.Marshal(r.safe()) }

func formatSafe(f fmt.State, verb rune, safe any) {
	if verb == 's' {
		verb = 'v'
	}
	// Errors of a fmt.State are not reported anywhere by package fmt either.
	_, _ = io.WriteString(f, fmt.Sprintf(fmt.FormatString(plusState{f}, verb), safe))
}

// plusState turns %v and %s into %+v, so that field names are always shown.
type plusState struct{ fmt.State }

func (s plusState) Flag(c int) bool {
	return s.State.Flag(c) || (c == '+' && !s.State.Flag('#'))
}
