package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// checkSpelling refuses what encoding/json accepts but the schema does not: a field name in other letters, an optional field that is null
// or empty, a time that is not in UTC. What was read must be what Encode would write, apart from order and white space.
func (m Manifest) checkSpelling(text []byte) error {
	canonical, err := m.encode()
	if err != nil {
		return fmt.Errorf("manifest of %s: %w", m.BackupID, err)
	}
	read, err := decodeAny(text)
	if err != nil {
		return fmt.Errorf("manifest of %s: %w", m.BackupID, err)
	}
	want, err := decodeAny(canonical)
	if err != nil {
		return fmt.Errorf("manifest of %s: %w", m.BackupID, err)
	}
	if at := difference("", read, want); at != "" {
		return fmt.Errorf("manifest of %s: %q: is not written as version %d requires", m.BackupID, at, Version)
	}
	return nil
}

func decodeAny(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // a float64 cannot hold every size
	return v, d.Decode(&v)
}

// difference returns the first place where two JSON values differ, such as ".disks[0].file", or "".
func difference(at string, read, want any) string {
	switch read := read.(type) {
	case map[string]any:
		if want, ok := want.(map[string]any); ok {
			return differentField(at, read, want)
		}
	case []any:
		if want, ok := want.([]any); ok && len(read) == len(want) {
			return differentElement(at, read, want)
		}
	default:
		if read == want { // strings, numbers and booleans are comparable
			return ""
		}
	}
	return at
}

func differentField(at string, read, want map[string]any) string {
	for _, name := range slices.Sorted(maps.Keys(read)) {
		field := at + "." + name
		if _, ok := want[name]; !ok {
			return field
		}
		if d := difference(field, read[name], want[name]); d != "" {
			return d
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, ok := read[name]; !ok {
			return at + "." + name
		}
	}
	return ""
}

func differentElement(at string, read, want []any) string {
	for i := range read {
		if d := difference(fmt.Sprintf("%s[%d]", at, i), read[i], want[i]); d != "" {
			return d
		}
	}
	return ""
}
