package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary is the program when this is set.
const asProgram = "SNASIM_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProgramEndsInOrderOnSIGTERM(t *testing.T) {
	disk := writeFile(t, "disk", strings.Repeat("x", 4096))
	vm := writeFile(t, "vm.json", `{"path":"/DC1/vm/pgtest1","disks":[{"key":2000,"label":"Hard disk 1","unit_number":0,"capacity_bytes":8192,"source":"`+disk+`"}]}`)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, os.Args[0], "--listen", "127.0.0.1:0", "--vm", vm, "--fault", "die=0", "--callback", "http://127.0.0.1:1")
	command.Env = append(os.Environ(), asProgram+"=1")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 64)
	n, err := io.ReadAtLeast(stdout, first, len("listening on http://"))
	if err != nil || !strings.HasPrefix(string(first[:n]), "listening on http://127.0.0.1:") {
		t.Errorf("first line %q, %v, %s", first[:n], err, stderr.String())
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := command.Wait(); err != nil {
		t.Errorf("%v: %s", err, stderr.String())
	}
}

func TestFlags(t *testing.T) {
	disk := writeFile(t, "disk", "")
	two := writeFile(t, "two.json", ` [{"path":"/a/b","disks":[]},{"path":"/a/c","disks":[{"key":2000,"unit_number":0,"source":"`+disk+`"}]}]`)
	options, err := parseFlags([]string{"--vm", two, "--vm", two, "--fault", "slow=1", "--fault", "inert", "--retry-delay", "-1s", "--no-sampling"}, io.Discard)
	if err != nil || len(options.VMs) != 4 || !options.Faults.Inert || options.Faults.BytesPerSec != 1 || options.RetryDelay != -time.Second || !options.NoSampling {
		t.Errorf("%+v, %v", options, err)
	}
	for _, args := range [][]string{
		{"extra"},
		{"--fault", "explode"},
		{"--vm", "/does/not/exist"},
		{"--vm", writeFile(t, "bad.json", `{"path":"/a","disk":[]}`)},
		{"--nonsense"},
	} {
		if _, err := parseFlags(args, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
