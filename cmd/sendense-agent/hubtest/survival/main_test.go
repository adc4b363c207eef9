// Package survival_test tests what a hub must survive: a killed daemon, storage that hangs, a lost key, two hundred clients at once.
package survival_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
)

func TestMain(m *testing.M) {
	if from, to, found := strings.Cut(os.Getenv(fuseEnv), ":"); found {
		if err := serveFUSE(from, to); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	hubtest.Main(m)
}
