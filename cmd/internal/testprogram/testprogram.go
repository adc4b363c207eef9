// Package testprogram builds the programs that tests run as processes.
//
// Each test package runs them from a directory of its own, which goes with the test's executable. They are linked once for all test
// packages, and again only when something has changed: what is built lies in the user's cache, a directory for each source tree and
// set of flags, where the go tool sees by content whether it is up to date.
//
// It is not for programs of this tree alone that are released: see packaging/build.
package testprogram

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is where the test's programs lie: beside the test's executable, in a directory that the test's machine shares and the go tool
// removes.
func Dir() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return filepath.Join(filepath.Dir(exe), "programs")
}

// Path is the path of a program.
func Path(name string) string { return filepath.Join(Dir(), name) }

// Build builds packages of this module, "./cmd/sendensectl", with flags of go build. The suffix is appended to their names.
func Build(suffix string, flags []string, packages ...string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	cache, err := cacheDir(root + "\n" + strings.Join(flags, "\n"))
	if err != nil {
		return err
	}
	lock, err := lockDir(cache) // also while they are copied: another test may build something newer
	if err != nil {
		return err
	}
	defer lock.Close()
	args := append([]string{"build", "-buildvcs=false", "-o", cache + "/"}, flags...)
	build := exec.Command("go", append(args, packages...)...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", strings.Join(packages, ", "), err, out)
	}
	if err := os.MkdirAll(Dir(), 0o755); err != nil {
		return err
	}
	for _, p := range packages {
		name := path.Base(p)
		if err := copyProgram(Path(name+suffix), filepath.Join(cache, name)); err != nil {
			return err
		}
	}
	return nil
}

// File writes content to a file of the cache, whose path is the same for the same content, for a flag of Build.
func File(name string, content []byte) (string, error) {
	dir, err := cacheDir(string(content))
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, name)
	next := fmt.Sprintf("%s.%d", file, os.Getpid())
	return file, errors.Join(os.WriteFile(next, content, 0o644), os.Rename(next, file))
}

// cacheDir makes the directory of the cache that belongs to a key.
func cacheDir(key string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "sendense-agent", "test-programs", fmt.Sprintf("%x", sha256.Sum256([]byte(key)))[:16])
	return dir, os.MkdirAll(dir, 0o755)
}

func lockDir(dir string) (*os.File, error) {
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), lock.Close())
	}
	return lock, nil
}

// copyProgram copies: a link would lead to what is built next.
func copyProgram(to, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// moduleRoot is the nearest directory upwards that holds a go.mod.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod in %s or above it", start)
		}
	}
}
