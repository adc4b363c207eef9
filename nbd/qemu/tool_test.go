package qemu

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMissingTool(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	path := newImage(t, filepath.Join(dir, "a.qcow2"), MiB)
	for _, missing := range []string{"qemu-img-is-not-here", "/nonexistent/qemu-img"} {
		tools := Tools{QemuImg: missing}
		if _, err := tools.Check(ctx, path); err == nil || !strings.Contains(err.Error(), "install qemu-utils") {
			t.Errorf("%v", err)
		}
		fresh := filepath.Join(dir, "fresh")
		if err := tools.Create(ctx, ImageSpec{Path: fresh, SizeBytes: MiB}); err == nil {
			t.Error("created without qemu-img")
		}
		if _, err := os.Lstat(fresh); err == nil {
			t.Error("left a file")
		}
	}
}

// TestToolThatMisbehaves replaces qemu-img by a script.
func TestToolThatMisbehaves(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	path := newImage(t, filepath.Join(dir, "a.qcow2"), MiB)
	script := func(text string) Tools {
		// Written by another process: a file that is open for writing here, or
		// in a child forked meanwhile by another test, cannot be run.
		name := filepath.Join(dir, "tool")
		command := exec.Command("/bin/sh", "-c", `printf '#!/bin/sh\n%s\n' "$1" >"$2" && chmod 700 "$2"`, "sh", text, name)
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		return Tools{QemuImg: name, programDirs: []string{"/usr/bin", "/bin"}}
	}
	if _, err := script("yes x | head -c 3000000").Check(ctx, path); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too much output: %v", err)
	}
	if _, err := script("yes x | head -c 3000000 >&2; exit 7").Check(ctx, path); err == nil || len(err.Error()) > 10_000 {
		t.Errorf("too many words: %.200v", err)
	}
	var tool *ToolError
	if _, err := script("echo no luck >&2; exit 7").Check(ctx, path); !errors.As(err, &tool) || tool.ExitCode != 7 || tool.Stderr != "no luck" {
		t.Errorf("%v", err)
	}
	if _, err := script("ulimit -t 1; while :; do :; done").Check(ctx, path); !errors.As(err, &tool) || tool.ExitCode != -1 || !strings.Contains(err.Error(), "killed") {
		t.Errorf("%v", err)
	}
	if _, err := script("ulimit -S -t 1; while :; do :; done").Check(ctx, path); err == nil || !strings.Contains(err.Error(), "processor time") {
		t.Errorf("%v", err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := script("exec sleep 60").Check(short, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
