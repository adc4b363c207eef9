// Package schema says what a wire type accepts. The check of a call's parameters and the JSON Schema that describes them are
// both made from the Go type, so that they cannot differ:
//
//   - a field without omitempty or omitzero is required;
//   - names are matched exactly, and unknown ones are refused;
//   - the struct tag `enum:"a,b"` lists the values that a string may have.
package schema

import (
	"reflect"
	"strings"
	"time"
)

// A field is one field of a wire type.
type field struct {
	name     string
	typ      reflect.Type
	required bool
	enum     []string
}

func fieldsOf(t reflect.Type) []field {
	var fields []field
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		var enum []string
		if tag := f.Tag.Get("enum"); tag != "" {
			enum = strings.Split(tag, ",")
		}
		fields = append(fields, field{name: name, typ: f.Type, required: options == "", enum: enum})
	}
	return fields
}

var timeType = reflect.TypeFor[time.Time]()

// A Set describes types. A struct is described once, in Defs, and referenced everywhere else.
type Set struct {
	Defs  map[string]any                 // by the name of the Go type
	Title func(typ string) string        // for generated clients; nil is the name of the type
	About func(typ, field string) string // what a type or, with a name, its field means; "" or nil is nothing
}

// NewSet returns an empty set.
func NewSet() *Set {
	return &Set{
		Defs: map[string]any{}, Title: func(typ string) string { return typ },
		About: func(string, string) string { return "" },
	}
}

// A Property is one field of a struct with its description.
type Property struct {
	Name     string
	Required bool
	Schema   any
	About    string
}

// Properties describes the fields of a struct.
func (s *Set) Properties(t reflect.Type) []Property {
	var ps []Property
	for _, f := range fieldsOf(t) {
		ps = append(ps, Property{Name: f.name, Required: f.required, Schema: s.field(f), About: s.About(t.Name(), f.name)})
	}
	return ps
}

func (s *Set) field(f field) any {
	d := s.Of(f.typ)
	if m, ok := d.(map[string]any); ok && f.enum != nil {
		m["enum"] = f.enum
	}
	return d
}

// Of describes a type.
func (s *Set) Of(t reflect.Type) any {
	switch {
	case t.Kind() == reflect.Pointer:
		return s.Of(t.Elem())
	case t == timeType:
		return map[string]any{"type": "string", "format": "date-time"}
	}
	switch t.Kind() {
	case reflect.Struct:
		s.define(t)
		return map[string]any{"$ref": "#/components/schemas/" + t.Name()}
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": "array", "items": s.Of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.Of(t.Elem())}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	default:
		return true // anything
	}
}

func (s *Set) define(t reflect.Type) {
	if _, ok := s.Defs[t.Name()]; ok {
		return
	}
	properties := map[string]any{}
	required := []string{}
	def := map[string]any{"type": "object", "properties": properties, "title": s.Title(t.Name())}
	if about := s.About(t.Name(), ""); about != "" {
		def["description"] = about
	}
	s.Defs[t.Name()] = def // before its fields, so that a type may contain itself
	for _, p := range s.Properties(t) {
		if m, ok := p.Schema.(map[string]any); ok && p.About != "" {
			m["description"] = p.About
		}
		properties[p.Name] = p.Schema
		if p.Required {
			required = append(required, p.Name)
		}
	}
	if len(required) > 0 {
		def["required"] = required
	}
}
