package sna

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxText is how much of an answer is shown, in bytes.
	maxText = 4 << 10
	// maxRaw is how much of an answer is examined, after secrets were replaced.
	maxRaw = 64 << 10
)

// cleanText prepares a text of the SNA for a log line and a terminal: it replaces
// secrets, turns control and format characters into spaces, joins spaces, and cuts
// after maxText bytes.
func cleanText(text string, secrets []string) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, hide(text, secrets))
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= maxText {
		return text
	}
	const more = " ..."
	cut := maxText - len(more)
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + more
}

// hide returns the beginning of a text with the secrets replaced, in every form
// in which an error may echo them. It replaces in one pass: a password such as "e"
// is not replaced within its own replacement. It cuts after it has replaced: a cut
// through a password would show its first half.
func hide(text string, secrets []string) string {
	var forms []string
	for _, secret := range secrets {
		if secret != "" {
			forms = append(forms, formsOf(secret)...)
		}
	}
	// Of two forms with the same beginning the replacer uses the first in the list.
	slices.SortFunc(forms, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, form := range forms {
		pairs = append(pairs, form, redacted)
	}
	var shown firstBytes
	_, _ = strings.NewReplacer(pairs...).WriteString(&shown, text) // fails when full, as it should
	return shown.String()
}

func formsOf(secret string) []string {
	inJSON, _ := json.Marshal(secret) // a string always encodes
	return []string{
		secret,
		unquoted(string(inJSON)),
		unquoted(strconv.Quote(secret)),
		url.QueryEscape(secret),
		url.PathEscape(secret),
		url.UserPassword("", secret).String()[1:],
	}
}

func unquoted(quoted string) string { return quoted[1 : len(quoted)-1] }

// firstBytes keeps the first maxRaw bytes, and refuses the rest.
type firstBytes struct{ kept strings.Builder }

var errFull = errors.New("enough was read")

func (b *firstBytes) Write(p []byte) (int, error) { return b.WriteString(string(p)) }

func (b *firstBytes) WriteString(s string) (int, error) {
	n, err := b.kept.WriteString(s[:min(len(s), maxRaw-b.kept.Len())])
	if err == nil && n < len(s) {
		err = errFull
	}
	return n, err
}

func (b *firstBytes) String() string { return b.kept.String() }
