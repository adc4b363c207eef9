package repositories

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestReadersDoNotWaitForEachOther: background reads take all of their slots and stay. The end of a backup and a restore get theirs at
// once, and another repository has one for its background.
func TestReadersDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReads()
		took := func(repository string, reader Reader) bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := r.acquire(ctx, repository, reader)
			return err == nil
		}
		total := 0
		for i := range 10 {
			for took(fmt.Sprint(i), Background) {
				total++
			}
		}
		if want := 10 + maxSecondReads; total != want {
			t.Errorf("%d background reads at once, want %d", total, want)
		}
		for reader, want := range map[Reader]int{EndOfBackup: 4, Restoring: 2, Background: 0} {
			n := 0
			for took("0", reader) {
				n++
			}
			if n != want {
				t.Errorf("%d reads for reader %d, want %d", n, reader, want)
			}
		}
		if !took("new", Background) || took("new", Background) {
			t.Error("a repository does not have exactly its one background read")
		}
	})
}

// TestReadsAreServedInOrder: who waits longest is next, a canceled one gives its place up, and a released slot is used again.
func TestReadsAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReads()
		var release []func()
		for range slotsOf[Background] {
			f, err := r.acquire(t.Context(), "main", Background)
			if err != nil {
				t.Fatal(err)
			}
			release = append(release, f)
		}
		served := make(chan int, 3)
		why := errors.New("not needed any more")
		canceled, cancel := context.WithCancelCause(t.Context())
		for i, ctx := range []context.Context{t.Context(), canceled, t.Context()} {
			go func() {
				f, err := r.acquire(ctx, "main", Background)
				if i == 1 {
					if !errors.Is(err, why) {
						t.Errorf("the canceled one got %v", err)
					}
					return
				}
				served <- i
				f()
			}()
			synctest.Wait()
		}
		cancel(why)
		synctest.Wait()
		release[0]()
		if a, b := <-served, <-served; a != 0 || b != 2 {
			t.Errorf("served in the order %d, %d", a, b)
		}
		release[1]()
		synctest.Wait()
		if r.taken[slot{"main", Background}] != 0 || r.second != 0 || len(r.waiting) != 0 {
			t.Errorf("left: %+v", r)
		}
	})
}
