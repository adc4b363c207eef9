package systemdtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// DefaultSysusers has the users and groups that the agent's package creates on a hub.
const DefaultSysusers = `g sendense - -
u sendense-nbd - "Sendense NBD exporter" - -
u sendense-files - "Sendense reader of files" - -
`

// Options describe a machine. The zero value is what Main uses.
type Options struct {
	// Binds are absolute paths of the host that the machine shares, writable, at the same path. The
	// module around the working directory, the working directory, the executable's directory and the
	// paths in go test's own flags are always shared.
	Binds []string

	// Root is the directory with the machine's files, such as a fresh installation of a distribution;
	// "/" if empty. All changes are lost when the machine ends.
	Root string

	// Sysusers has the users and groups to create inside the machine, in the format of sysusers.d(5).
	// Empty: DefaultSysusers, or none if Root is set.
	Sysusers string

	// HostNetwork keeps the machine in the network namespace of the caller. By default it has one of
	// its own with only a loopback interface, so that tests that run at the same time do not need the
	// same port.
	HostNetwork bool

	// FullBoot boots multi-user.target with the distribution's own units, without those for hardware or
	// the network. It takes seconds. By default only D-Bus and the journal start.
	FullBoot bool
}

// bindPaths returns every path to share: Binds, and those that the go tool needs.
func (o Options) bindPaths() ([]string, error) {
	paths := append([]string(nil), o.Binds...)
	cwd, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("working directory: %w", err)
	}
	paths = append(paths, cwd, moduleRoot(cwd))
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("path of this executable: %w", err)
	}
	// The file too, because it may be in /tmp itself, which is not shared.
	paths = append(paths, buildDir(exe), exe)
	paths = append(paths, flagDirs(os.Args[1:])...)
	if cache, err := os.UserCacheDir(); err == nil {
		paths = append(paths, filepath.Join(cache, "go-build"))
	}
	return tidyPaths(paths)
}

// moduleRoot returns the nearest directory upwards with a go.mod, or dir itself.
func moduleRoot(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
		if d == filepath.Dir(d) {
			return dir
		}
	}
}

// buildDir returns the directory of the executable or, for go test and go run, the work directory
// (go-build123 of go-build123/b001/pkg.test), which also gets coverage data and the test log.
func buildDir(exe string) string {
	dir := filepath.Dir(exe)
	for d := dir; d != filepath.Dir(d); d = filepath.Dir(d) {
		if strings.HasPrefix(filepath.Base(d), "go-build") {
			return d
		}
	}
	return dir
}

// flagDirs returns the directories in go test's flags for output, such as -test.outputdir.
func flagDirs(args []string) []string {
	var dirs []string
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || !strings.HasPrefix(name, "-test.") || !filepath.IsAbs(value) {
			continue
		}
		if info, err := os.Stat(value); err == nil && info.IsDir() {
			dirs = append(dirs, value)
		} else {
			dirs = append(dirs, filepath.Dir(value))
		}
	}
	return dirs
}

// tidyPaths removes paths that do not exist, that are private to the machine, or that are below another.
func tidyPaths(paths []string) ([]string, error) {
	var kept []string
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("bind %q: the path must be absolute", path)
		}
		path = filepath.Clean(path)
		if _, err := os.Stat(path); err == nil && !machineOwn(path) {
			kept = append(kept, path)
		}
	}
	return outermost(kept), nil
}

// machineOwn reports whether the machine makes the directory itself, so that it cannot be shared.
func machineOwn(path string) bool {
	switch path {
	case "/", "/tmp", "/var/tmp", "/run", "/etc", "/usr", "/var":
		return true
	}
	for _, top := range []string{"/proc", "/sys", "/dev"} {
		if path == top || strings.HasPrefix(path, top+"/") {
			return true
		}
	}
	return false
}

// outermost removes every path that is below another one of the list.
func outermost(paths []string) []string {
	var kept []string
	for i, path := range paths {
		covered := false
		for j, other := range paths {
			same := path == other && j < i
			covered = covered || same || (other != path && strings.HasPrefix(path, other+"/"))
		}
		if !covered {
			kept = append(kept, path)
		}
	}
	return kept
}
