package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/record"
)

// The test program runs itself for what needs a process of its own: to hold a lock, to be killed, to have little room.
const (
	childRole = "STORE_TEST_CHILD"
	childPath = "STORE_TEST_PATH"
)

func TestMain(m *testing.M) {
	roles := map[string]func(path string) error{"hold": childHold, "prepare": childPrepare, "full": childFull}
	role, ok := roles[os.Getenv(childRole)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := role(os.Getenv(childPath)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

type child struct {
	cmd *exec.Cmd
	out *bufio.Scanner
}

func startChild(t *testing.T, role, path string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"="+role, childPath+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &child{cmd: cmd, out: bufio.NewScanner(out)}
}

func (c *child) line(t *testing.T) string {
	t.Helper()
	if !c.out.Scan() {
		t.Fatalf("the child has ended: %v", c.out.Err())
	}
	return c.out.Text()
}

// kill ends the child at once and returns the lines that it still wrote.
func (c *child) kill(t *testing.T) []string {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var rest []string
	for c.out.Scan() {
		rest = append(rest, c.out.Text())
	}
	_ = c.cmd.Wait()
	return rest
}

func childHold(path string) error {
	if _, err := Open(path, Options{}); err != nil {
		return err
	}
	fmt.Println("open")
	time.Sleep(time.Hour)
	return nil
}

// childPrepare makes and ends backups for ever, and writes a line after every commit.
func childPrepare(path string) error {
	s, err := Open(path, Options{})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		vm := vmOf(fmt.Sprint("vm", i%40), 2)
		b, _, err := s.Prepare(preparation(vm, start.Add(time.Duration(i)*time.Minute)))
		if err != nil {
			return err
		}
		fmt.Println(b.ID, b.State)
		for _, state := range []record.State{record.Undoing, record.Failed} {
			if _, b, err = s.Update(b.ID, start, setState(state)); err != nil {
				return err
			}
			fmt.Println(b.ID, b.State)
		}
	}
}

// Whatever was acknowledged is there after a kill, and the file is whole.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	order := map[record.State]int{record.Preparing: 1, record.Undoing: 2, record.Failed: 3}
	for round := range 5 {
		c := startChild(t, "prepare", path)
		var lines []string
		for range 7 + 11*round {
			lines = append(lines, c.line(t))
		}
		lines = append(lines, c.kill(t)...)
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Check(context.Background()); err != nil {
			t.Error(err)
		}
		for _, line := range lines {
			id, state, _ := strings.Cut(line, " ")
			if b, err := s.Backup(id); err != nil || order[b.State] < order[record.State(state)] {
				t.Errorf("acknowledged %s, found %s, error %v", line, b.State, err)
			}
		}
		active, err := s.Active()
		if err != nil || len(active) > 1 {
			t.Fatalf("%d active, error %v", len(active), err)
		}
		for _, b := range active {
			end(t, s, b)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDiskFull(t *testing.T) {
	c := startChild(t, "full", filepath.Join(t.TempDir(), "agent.db"))
	var lines []string
	for c.out.Scan() {
		lines = append(lines, c.out.Text())
	}
	if err := c.cmd.Wait(); err != nil || len(lines) > 0 {
		t.Errorf("%v: %s", err, strings.Join(lines, "\n"))
	}
}

// childFull lets the file not grow, writes until it would have to, and continues when it may.
func childFull(path string) error {
	signal.Ignore(unix.SIGXFSZ)
	s, err := Open(path, Options{})
	if err != nil {
		return err
	}
	var room unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &room); err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: uint64(s.SizeBytes()) + 1<<17, Max: room.Max}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	var made []string
	prepare := func() error {
		vm := vmOf(fmt.Sprint("vm", len(made)), 1)
		b, _, err := s.Prepare(preparation(vm, start))
		if err == nil {
			made = append(made, b.ID)
			_, _, err = s.Update(b.ID, start, setState(record.Undoing))
		}
		if err == nil {
			_, _, err = s.Update(b.ID, start, setState(record.Failed))
		}
		return err
	}
	for err == nil {
		err = prepare()
	}
	if !strings.Contains(err.Error(), "too large") { // bbolt does not wrap it
		return fmt.Errorf("after %d backups: %w", len(made), err)
	}
	for _, id := range made {
		if _, err := s.Backup(id); err != nil {
			return fmt.Errorf("full: %w", err)
		}
	}
	if err := s.Check(context.Background()); err != nil {
		return fmt.Errorf("full: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &room); err != nil {
		return err
	}
	if _, err := s.PutVM(vmOf("room again", 1)); err != nil {
		return err
	}
	return errors.Join(s.Check(context.Background()), s.Close())
}
