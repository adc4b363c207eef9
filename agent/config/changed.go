package config

import (
	"maps"
	"reflect"
	"slices"

	"github.com/pelletier/go-toml/v2"
)

// Changed lists the keys whose values differ, dotted and sorted. All [[repository]] tables are one key, "repository".
func Changed(before, after *Config) ([]string, error) {
	a, err := flatten(before)
	if err != nil {
		return nil, err
	}
	b, err := flatten(after)
	if err != nil {
		return nil, err
	}
	changed := map[string]bool{}
	for _, m := range []map[string]any{a, b} {
		for key := range m {
			if !reflect.DeepEqual(a[key], b[key]) {
				changed[key] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(changed)), nil
}

// flatten gives every value of a configuration under its dotted key.
func flatten(c *Config) (map[string]any, error) {
	text, err := toml.Marshal(c)
	if err != nil {
		return nil, err
	}
	var tables map[string]any
	if err := toml.Unmarshal(text, &tables); err != nil {
		return nil, err
	}
	flat := map[string]any{}
	var walk func(prefix string, table map[string]any)
	walk = func(prefix string, table map[string]any) {
		for key, value := range table {
			if inner, ok := value.(map[string]any); ok {
				walk(prefix+key+".", inner)
				continue
			}
			flat[prefix+key] = value
		}
	}
	walk("", tables)
	return flat, nil
}
