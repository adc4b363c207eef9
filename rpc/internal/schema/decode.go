package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/rpc"
)

// Decode reads the JSON value into v, a pointer to a wire type, if the type accepts it. Otherwise the error is an *rpc.Error
// that names the field, like `disks[1].capacity_bytes: want an integer of 64 bits, not a string`. Absent data and null count
// as an empty object.
func Decode(data json.RawMessage, v any) error {
	if len(data) == 0 || isNull(data) {
		data = json.RawMessage("{}")
	}
	if err := check(data, reflect.TypeOf(v).Elem(), "", nil); err != nil {
		return rpc.NewError(rpc.ReasonInvalidRequest, err.Error())
	}
	if err := json.Unmarshal(data, v); err != nil {
		return rpc.NewError(rpc.ReasonInvalidRequest, err.Error())
	}
	return nil
}

func check(data json.RawMessage, t reflect.Type, path string, enum []string) error {
	switch {
	case t.Kind() == reflect.Pointer:
		return check(data, t.Elem(), path, enum)
	case t.Kind() == reflect.Struct && t != timeType:
		return checkObject(data, t, path)
	case t.Kind() == reflect.Slice && kindOf(data) == "an array":
		return checkArray(data, t, path)
	case t.Kind() == reflect.Map && kindOf(data) == "an object":
		return checkMap(data, t, path)
	}
	value := reflect.New(t)
	if err := json.Unmarshal(data, value.Interface()); err != nil {
		return mismatch(path, want(t), data)
	}
	if s := value.Elem(); enum != nil && s.String() != "" && !slices.Contains(enum, s.String()) {
		return fmt.Errorf("%s: want %s, not %q", path, oneOf(enum), s.String())
	}
	return nil
}

func checkObject(data json.RawMessage, t reflect.Type, path string) error {
	if kindOf(data) != "an object" {
		return mismatch(path, "an object", data)
	}
	members, err := Members(data)
	if err != nil {
		return at(path, err)
	}
	fields := fieldsOf(t)
	for _, name := range slices.Sorted(maps.Keys(members)) { // first, because a misspelled name is also a missing one
		if !slices.ContainsFunc(fields, func(f field) bool { return f.name == name }) {
			return fmt.Errorf("unknown field %q: want %s", join(path, name), names(fields))
		}
	}
	for _, f := range fields {
		if err := checkField(members[f.name], f, join(path, f.name)); err != nil {
			return err
		}
	}
	return nil
}

func checkField(value json.RawMessage, f field, path string) error {
	switch {
	case value != nil && !isNull(value):
		return check(value, f.typ, path, f.enum)
	case !f.required:
		return nil
	case f.enum != nil:
		return fmt.Errorf("%s is missing: want %s", path, oneOf(f.enum))
	default:
		return fmt.Errorf("%s is missing", path)
	}
}

func checkArray(data json.RawMessage, t reflect.Type, path string) error {
	var items []json.RawMessage
	if err := json.Unmarshal(data, &items); err != nil {
		return mismatch(path, want(t), data)
	}
	for i, item := range items {
		where := fmt.Sprintf("%s[%d]", path, i)
		if isNull(item) {
			return mismatch(where, want(t.Elem()), item)
		}
		if err := check(item, t.Elem(), where, nil); err != nil {
			return err
		}
	}
	return nil
}

func checkMap(data json.RawMessage, t reflect.Type, path string) error {
	members, err := Members(data)
	if err != nil {
		return at(path, err)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		where := fmt.Sprintf("%s[%q]", path, name)
		if isNull(members[name]) {
			return mismatch(where, want(t.Elem()), members[name])
		}
		if err := check(members[name], t.Elem(), where, nil); err != nil {
			return err
		}
	}
	return nil
}

// Members returns the members of a JSON object. A duplicate name is an error: the sender may have meant either.
func Members(data json.RawMessage) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	members := map[string]json.RawMessage{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := token.(string)
		if !ok {
			return nil, fmt.Errorf("want an object, not %s", kindOf(data))
		}
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("field %q comes twice", name)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		members[name] = value
	}
	return members, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func at(path string, err error) error {
	if path == "" {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

func mismatch(path, want string, data json.RawMessage) error {
	return at(path, fmt.Errorf("want %s, not %s", want, kindOf(data)))
}

func want(t reflect.Type) string {
	if t == timeType {
		return "an RFC 3339 time"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return fmt.Sprintf("an integer of %d bits", t.Bits())
	}
}

// kindOf names the kind of a JSON value by its first byte.
func kindOf(data json.RawMessage) string {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 {
		return "nothing"
	}
	switch data[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return string(data)
	case 'n':
		return "null"
	default:
		return "the number " + shorten(string(data))
	}
}

func shorten(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

func isNull(data json.RawMessage) bool { return string(bytes.TrimSpace(data)) == "null" }

func oneOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func names(fields []field) string {
	var all []string
	for _, f := range fields {
		all = append(all, f.name)
	}
	switch len(all) {
	case 0:
		return "no fields"
	case 1:
		return all[0]
	}
	return oneOf(all)
}
