//go:build race

package hubtest

// raceEnabled has the programs built as the tests are.
const raceEnabled = true
