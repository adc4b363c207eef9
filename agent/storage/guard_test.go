package storage

import (
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/sendense/backup-agent/agent/repository/overlap"
)

// TestKeepApart: a repository that was away when the agent started is compared before it is used. The one that was used first continues.
func TestKeepApart(t *testing.T) {
	dir := t.TempDir()
	main, slow := at("main", dir+"/main"), at("slow", dir+"/slow")
	must(t, os.Mkdir(main.Path, 0o755))
	KeepApart([]*Repository{main, slow}, overlap.Place{Name: "agent.state_directory", Path: dir + "/state"})
	works := func(r *Repository) {
		t.Helper()
		_, err := r.Scratch(t.Context())
		must(t, err)
		_, err = r.Space(t.Context())
		must(t, err)
	}
	refused := func(r *Repository, words ...string) {
		t.Helper()
		err := r.MakeDir(t.Context(), "vm", "vm-1")
		var shared *overlap.Error
		if !errors.As(err, &shared) {
			t.Fatalf("not refused: %v", err)
		}
		wantError(t, err, words...)
		_, err = r.Space(t.Context())
		wantError(t, err, words...)
	}
	works(main)
	if _, err := slow.Scratch(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a repository that is away: %v", err)
	}

	// It comes, and is the other one.
	must(t, os.Symlink(main.Path, slow.Path))
	refused(slow, `repository "slow"`, `repository "main"`, "are one directory")
	works(main)
	must(t, errors.Join(os.Remove(slow.Path), os.MkdirAll(main.Path+"/vm/x", 0o755), os.Symlink(main.Path+"/vm", slow.Path)))
	refused(slow, "lies inside")
	works(main)

	// It comes as it should.
	must(t, errors.Join(os.Remove(slow.Path), os.Mkdir(slow.Path, 0o755)))
	works(slow)
	works(main)

	// Their places are exchanged: what was one's is the other's now, and neither is refused for what the other was.
	must(t, os.Rename(main.Path, main.Path+"1"))
	must(t, errors.Join(os.Rename(slow.Path, main.Path), os.Rename(main.Path+"1", slow.Path)))
	works(main)
	works(slow)

	// What is no repository is there from the beginning.
	must(t, errors.Join(os.MkdirAll(dir+"/other/state", 0o755), os.Symlink(dir+"/other/state", dir+"/state")))
	around := at("around", dir+"/other")
	KeepApart([]*Repository{around}, overlap.Place{Name: "agent.state_directory", Path: dir + "/state"})
	refused(around, "agent.state_directory", "lies inside")
}

// TestComparedAtOnce: of two repositories in one directory that are used at the same time, one is accepted and the other refused.
func TestComparedAtOnce(t *testing.T) {
	dir := t.TempDir()
	must(t, errors.Join(os.Mkdir(dir+"/main", 0o755), os.Symlink(dir+"/main", dir+"/slow")))
	for range 200 {
		list := []*Repository{at("main", dir+"/main"), at("slow", dir+"/slow")}
		KeepApart(list)
		errs := make([]error, len(list))
		var wait sync.WaitGroup
		for i, r := range list {
			wait.Go(func() { _, errs[i] = r.Scratch(t.Context()) })
		}
		wait.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("%v and %v", errs[0], errs[1])
		}
	}
}
