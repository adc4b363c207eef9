package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// checkSpelling refuses what package encoding/json lets pass although the schema does not: a field in other letters, an
// optional one that is null or empty, a time that is not in UTC. What was read must be what would be written, whatever
// the order and the white space.
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
		return fmt.Errorf("manifest of %s: %q: is not as version %d has it", m.BackupID, at, Version)
	}
	return nil
}

func decodeAny(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // a float64 does not hold every size
	return v, d.Decode(&v)
}

// difference names the first place where two JSON values differ, as ".disks[0].file"; it is empty if they do not.
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
		if read == want { // texts, numbers and truths compare; nothing else is left
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
