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
	// maxText is the most, in bytes, that is shown of an answer.
	maxText = 4 << 10
	// maxRaw is the most that is looked at, after secrets were replaced.
	maxRaw = 64 << 10
)

// cleanText makes an SNA's text fit for a log line and a terminal: secrets
// replaced, control and format characters turned into spaces, runs of spaces
// joined, at most maxText bytes.
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
// in which an error may echo them. It goes over the text once: a password such
// as "e" is not sought in its own replacement. And it cuts after it has replaced:
// a cut through a password would let its first half be seen.
func hide(text string, secrets []string) string {
	var forms []string
	for _, secret := range secrets {
		if secret != "" {
			forms = append(forms, formsOf(secret)...)
		}
	}
	// Of two forms that begin alike the replacer takes the one named first.
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

// firstBytes keeps the first maxRaw bytes written to it and refuses the rest.
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
