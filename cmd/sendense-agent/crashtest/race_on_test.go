//go:build race

package crashtest_test

// raceEnabled has the daemon of TestRandom built as the tests are.
const raceEnabled = true
