//go:build race

package main_test

// raceEnabled has the programs built as the tests are.
const raceEnabled = true
