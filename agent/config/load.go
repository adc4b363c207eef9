package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/pelletier/go-toml/v2"
)

// Load reads the configuration file at path over Default, and validates it. The error names every problem found, one
// to a line, each with the file and, where there is one, the line.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return nil, errors.Join(prefixed(path, err)...)
	}
	return c, nil
}

// Parse is Load for the content of a file.
func Parse(data []byte) (*Config, error) {
	c := Default()
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, explain(data, err)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// A SyntaxError is a place in the file that cannot be parsed.
type SyntaxError struct {
	Line, Column int    // both from 1
	Key          string // dotted; may be empty
	Message      string
}

func (e *SyntaxError) Error() string {
	if e.Key == "" {
		return e.Message
	}
	return e.Key + ": " + e.Message
}

// prefixed puts the path and the line before every error in err.
func prefixed(path string, err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, prefixed(path, e)...)
		}
		return all
	}
	var syntax *SyntaxError
	if errors.As(err, &syntax) {
		return []error{fmt.Errorf("%s:%d: %w", path, syntax.Line, err)}
	}
	return []error{fmt.Errorf("%s: %w", path, err)}
}
