package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// unknownKey suggests a known key for an unknown one.
func unknownKey(key toml.Key) string {
	if len(key) == 3 && key[0] == "vcenter" && strings.EqualFold(key[2], "password") {
		return "a password does not belong in this file: put it into " + CredentialStore + "/NAME, readable by root only, and set " +
			"password_credential to NAME"
	}
	table, depth := tableOf(key)
	unknown := key[depth]
	if near := nearest(unknown, keysOf(table)); near != "" {
		return fmt.Sprintf("unknown key: did you mean %s?", strings.Join(append(slices.Clone(key[:depth]), near), "."))
	}
	for _, known := range Keys() {
		if strings.HasSuffix(known, "."+unknown) {
			return fmt.Sprintf("unknown key: did you mean %s?", known)
		}
	}
	return "unknown key: remove it"
}

// tableOf follows the known parts of a key. It returns the table there and the number of those parts.
func tableOf(key toml.Key) (table reflect.Type, depth int) {
	table = reflect.TypeFor[Config]()
	for i, part := range key[:len(key)-1] {
		next := child(table, part)
		if next == nil {
			return table, i
		}
		table = next
	}
	return table, len(key) - 1
}

// child is the table that a key of a table holds, or nil.
func child(table reflect.Type, key string) reflect.Type {
	if table.Kind() == reflect.Map {
		return table.Elem()
	}
	for f := range table.Fields() {
		if f.Tag.Get("toml") != key {
			continue
		}
		t := f.Type
		if t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() == reflect.Map || isTable(t) {
			return t
		}
	}
	return nil
}

func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// keysOf lists the keys of a table in the order of its fields: none for a map, which accepts any key.
func keysOf(table reflect.Type) []string {
	var keys []string
	if isTable(table) {
		for f := range table.Fields() {
			keys = append(keys, f.Tag.Get("toml"))
		}
	}
	return keys
}

// Keys lists every key, dotted, with NAME for a name that the file chooses: agent.socket, vcenter.NAME.host.
func Keys() []string { return keysBelow(reflect.TypeFor[Config](), "") }

func keysBelow(t reflect.Type, prefix string) []string {
	switch {
	case t.Kind() == reflect.Slice:
		return keysBelow(t.Elem(), prefix)
	case t.Kind() == reflect.Map:
		return keysBelow(t.Elem(), prefix+".NAME")
	case !isTable(t):
		return []string{prefix}
	}
	var keys []string
	for f := range t.Fields() {
		key := f.Tag.Get("toml")
		if prefix != "" {
			key = prefix + "." + key
		}
		keys = append(keys, keysBelow(f.Type, key)...)
	}
	return keys
}

// nearest is the word that is at most a third of its letters away from the given one, or "".
func nearest(word string, known []string) string {
	best, least := "", max(1, min(len(word), 12)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the least number of bytes to insert, delete or replace to make b of a (Levenshtein).
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
