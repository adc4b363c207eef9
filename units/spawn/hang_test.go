package spawn

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// role is the environment variable that makes the test's executable one of the processes below.
const role = "SPAWN_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch kind := os.Getenv(role); kind {
	case "":
		if err = Reserve(); err == nil {
			os.Exit(m.Run())
		}
	case "server":
		err = serve(os.Args[1])
	default:
		err = hold(kind, os.Args[1])
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// serve is the process of a file system with one file. It ends when the directory is unmounted.
func serve(dir string) error {
	root := &fs.Inode{}
	server, err := fs.Mount(dir, root, &fs.Options{
		OnAdd: func(ctx context.Context) {
			file := &fs.MemRegularFile{Data: []byte("content"), Attr: fuse.Attr{Mode: 0o644}}
			root.AddChild("file", root.NewPersistentInode(ctx, file, fs.StableAttr{}), false)
		},
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "spawn-test"},
	})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	server.Wait()
	return nil
}

// hold is a process that has opened a file. When it is told that the file system hangs, it starts a program in one of the ways.
func hold(way, file string) error {
	if err := Reserve(); err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if way == "plain" {
		err = exec.Command("/bin/true").Run()
	} else {
		err = Run(ctx, exec.Command("/bin/true"))
	}
	runtime.GC() // needs all processors of the runtime
	fmt.Println("ran:", err)
	return nil
}

// A process is one of the above.
type process struct {
	*exec.Cmd
	in    io.WriteCloser
	lines chan string
}

func launch(t *testing.T, kind, arg string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command("/proc/self/exe"), lines: make(chan string, 10)}
	p.Args = []string{"spawn-test-" + kind, arg}
	p.Env = append(os.Environ(), role+"="+kind)
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	must(t, err)
	p.in, err = p.StdinPipe()
	must(t, err)
	must(t, p.Start())
	go func() {
		defer close(p.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.lines <- lines.Text()
		}
	}()
	if line := p.line(patience); line != "ready" {
		t.Fatalf("%s: %q", kind, line)
	}
	return p
}

// line returns what the process says next, or "" if it says nothing for a time.
func (p *process) line(wait time.Duration) string {
	select {
	case line := <-p.lines:
		return line
	case <-time.After(wait):
		return ""
	}
}

// stop stops all threads of the process, and returns when they have stopped.
func (p *process) stop(t *testing.T) {
	t.Helper()
	must(t, p.Process.Signal(syscall.SIGSTOP))
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		running := 0
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Process.Pid))
		must(t, err)
		for _, task := range tasks {
			stat, err := os.ReadFile(task)
			must(t, err)
			if !strings.Contains(string(stat), ") T ") {
				running++
			}
		}
		if running == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d threads of the file system have not stopped", running)
		}
	}
}

// TestFileSystemHangs: a program starts while the process holds a file of a file system that does not answer. Plain os/exec waits until it
// answers.
func TestFileSystemHangs(t *testing.T) {
	for way, test := range map[string]struct {
		wait time.Duration
		says string
	}{
		"spawn": {patience, "ran: <nil>"},
		"plain": {3 * time.Second, ""},
	} {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			server := launch(t, "server", dir)
			defer func() {
				must(t, syscall.Unmount(dir, syscall.MNT_DETACH))
				must(t, server.Wait())
			}()
			holder := launch(t, way, filepath.Join(dir, "file"))
			server.stop(t)
			_, err := io.WriteString(holder.in, "go\n")
			must(t, err)
			said := holder.line(test.wait)
			must(t, server.Process.Signal(syscall.SIGCONT))
			if said != test.says {
				t.Errorf("while the file system hangs: %q, not %q", said, test.says)
			}
			if said == "" && holder.line(patience) != "ran: <nil>" {
				t.Error("the program has not run although the file system answers")
			}
			must(t, holder.Wait())
		})
	}
}
