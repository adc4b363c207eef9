package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// explain turns errors of the parser into *SyntaxErrors: one per unknown key, or the first other error. data is the file.
func explain(data []byte, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var all []error
		for i := range strict.Errors {
			all = append(all, syntaxError(&strict.Errors[i], unknownKey(strict.Errors[i].Key())))
		}
		return errors.Join(all...)
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		return syntaxError(decode, plain(strings.TrimPrefix(decode.Error(), "toml: ")))
	}
	if key := unquoted(data); key != "" {
		return fmt.Errorf("%s: %w, in quotes", key, err)
	}
	return err
}

func syntaxError(e *toml.DecodeError, message string) error {
	line, column := e.Position()
	return &SyntaxError{Line: line, Column: column, Key: strings.Join(e.Key(), "."), Message: message}
}

var (
	wrongType  = regexp.MustCompile(`^cannot decode TOML (\S+) into struct field \S+ of type (\S+)$`)
	outOfRange = regexp.MustCompile(`^(?:negative )?integer value (-?[0-9]+) cannot be stored in uint16$`)
)

// plain says in words of the file what the parser says in words of Go.
func plain(message string) string {
	if m := outOfRange.FindStringSubmatch(message); m != nil {
		return m[1] + ": want 0 to 65535"
	}
	if message == "cannot store an array table in a struct" {
		return "there is only one such table: write [NAME], not [[NAME]]"
	}
	m := wrongType.FindStringSubmatch(message)
	if m == nil {
		return message
	}
	want := "a table"
	switch goType := m[2]; {
	case goType == "bool":
		want = "true or false"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"):
		want = "a whole number"
	case goType == "string":
		want = "a text in quotes"
	case goType == "[]string":
		want = "a list of texts in brackets"
	case strings.HasPrefix(goType, "[]"):
		want = "tables in double brackets, such as [[repository]]"
	}
	return "want " + want + ", not " + article(m[1])
}

func article(kind string) string {
	if strings.ContainsAny(kind[:1], "aeiou") {
		return "an " + kind
	}
	return "a " + kind
}

// unquoted finds the first key whose value must be a text and is none, such as a duration without quotes. The parser does not
// say where that is.
func unquoted(data []byte) string {
	var tables map[string]any
	if toml.Unmarshal(data, &tables) != nil {
		return ""
	}
	return unquotedBelow(reflect.TypeFor[Config](), tables, "")
}

func unquotedBelow(table reflect.Type, values map[string]any, prefix string) string {
	for f := range table.Fields() {
		key := f.Tag.Get("toml")
		value, present := values[key]
		switch _, text := value.(string); {
		case !present:
		case reflect.PointerTo(f.Type).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
			if !text {
				return prefix + key
			}
		case f.Type.Kind() == reflect.Struct:
			if inner, ok := value.(map[string]any); ok {
				if found := unquotedBelow(f.Type, inner, prefix+key+"."); found != "" {
					return found
				}
			}
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			list, _ := value.([]any)
			for _, one := range list {
				inner, _ := one.(map[string]any)
				if found := unquotedBelow(f.Type.Elem(), inner, prefix+key+"."); found != "" {
					return found
				}
			}
		}
	}
	return ""
}
