package fault

import (
	"fmt"
	"strconv"
	"time"
)

// The setters and renderers in faultKinds.

func flag(field func(*Faults) *bool) func(*Faults, string) error {
	return func(f *Faults, _ string) error {
		*field(f) = true
		return nil
	}
}

func duration(field func(*Faults) *time.Duration) func(*Faults, string) error {
	return func(f *Faults, value string) (err error) {
		*field(f), err = time.ParseDuration(value)
		return err
	}
}

func number(field func(*Faults) *int) func(*Faults, string) error {
	return func(f *Faults, value string) (err error) {
		*field(f), err = strconv.Atoi(value)
		return err
	}
}

func disk(field func(*Faults) *[]int) func(*Faults, string) error {
	return func(f *Faults, value string) error {
		index, err := strconv.Atoi(value)
		*field(f) = append(*field(f), index)
		return err
	}
}

func shown(name string, on func(Faults) bool) func(Faults) []string {
	return func(f Faults) []string {
		if on(f) {
			return []string{name}
		}
		return nil
	}
}

func nonZero[T comparable](name string, value T) []string {
	var zero T
	if value == zero {
		return nil
	}
	return each(name, []T{value})
}

func each[T any](name string, values []T) []string {
	var specs []string
	for _, value := range values {
		specs = append(specs, fmt.Sprintf("%s=%v", name, value))
	}
	return specs
}
