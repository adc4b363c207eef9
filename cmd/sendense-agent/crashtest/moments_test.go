package crashtest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/cmd/sendense-agent/crashtest/powerloss"
	"github.com/sendense/backup-agent/rpc"
)

// A moment is one at which the power goes, with what is lost.
type moment struct {
	at    int // so many operations were done
	after powerloss.Op
	loss  powerloss.Loss
	state powerloss.State
	facts *facts
}

func (m moment) String() string {
	return fmt.Sprintf("the power goes after operation %d (%v), and with it %v", m.at, m.after, m.loss)
}

// isEdge says whether something has just become safe, or known.
func (m moment) isEdge() bool {
	return m.after.Kind == powerloss.Sync || m.after.Kind == powerloss.Mark
}

// everywhere has a walk stop after each operation.
func everywhere(powerloss.Op) bool { return true }

// outsideImages leaves out the many writes to images, between which nothing else happens.
func outsideImages(op powerloss.Op) bool {
	return op.Kind != powerloss.Write || filepath.Ext(op.Path) != ".qcow2"
}

// walk goes through a log and calls look once for each thing that may be known and be on the disk after those operations of
// the file systems that are of interest, from where the agent's operation begins. It ends when look has an error.
func (i *inspector) walk(log powerloss.Log, interest func(powerloss.Op) bool, look func(moment) error) error {
	i.Helper()
	disk, known, learned, begun := powerloss.NewDisk(log), newFacts(), 0, false
	seen := map[[sha256.Size]byte]bool{}
	for disk.Next() {
		op := log.Ops[disk.At()-1]
		if e, ok := op.Note.(notice); ok {
			known.learn(e)
			learned++
			begun = begun || e.kind == isBegun
		}
		if !begun || !interest(op) {
			continue
		}
		for _, loss := range i.losses() {
			m := moment{at: disk.At(), after: op, loss: loss, state: disk.After(loss), facts: known}
			sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", learned, m.state.Fingerprint()))
			if seen[sum] {
				continue
			}
			seen[sum] = true
			i.states++
			if err := look(m); err != nil {
				return fmt.Errorf("%v: %w", m, err)
			}
		}
	}
	return nil
}

func (i *inspector) losses() []powerloss.Loss {
	list := slices.Clone(powerloss.Fixed)
	for n := range *lots {
		list = append(list, powerloss.Random(*seed, uint64(n)))
	}
	return list
}

// class is what matters of a moment to a daemon that starts there: records, files, and what was asked.
func (i *inspector) class(m moment) string {
	var b strings.Builder
	files := m.state.Files()
	db := i.database(files[i.databasePath()])
	for _, id := range slices.Sorted(maps.Keys(db.records)) {
		writeClass(&b, db.records[id])
	}
	fmt.Fprintf(&b, "damaged %t, asked %d\n", db.err != nil, len(m.facts.asked))
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if dir := filepath.Dir(path); filepath.Base(dir) != "state" {
			fmt.Fprintln(&b, path, files[path].Attrs)
		}
	}
	return b.String()
}

func writeClass(b *strings.Builder, r record.Backup) {
	fmt.Fprintln(b, r.ID, r.State, r.DirectoryMade, r.CalledAt.IsZero(), r.AcceptedAt.IsZero(), r.NotStarted, r.SeenAt.IsZero(), r.PublishingAt.IsZero(), r.Failure != nil)
	for _, d := range r.Runs {
		fmt.Fprintln(b, d.InvocationID != "", d.Complete, d.Flushed, d.Result)
	}
}

// restart starts a daemon on what the disk kept, once for each class or fewer, and looks at what becomes of it.
func (i *inspector) restart(m moment) error {
	i.Helper()
	class := i.class(m)
	if i.classes[class] {
		return nil
	}
	i.classes[class] = true
	if len(i.classes)%*starts != 0 {
		return nil
	}
	i.starts++
	outer := i.T
	defer func() { i.hub.T = outer }()
	good := outer.Run(fmt.Sprintf("start %d", i.starts), func(t *testing.T) {
		i.hub.T = t
		t.Cleanup(i.kill)
		t.Log(m)
		must(t, m.state.Write(nil))
		i.comeBack(m)
	})
	if !good {
		return errors.New("a daemon that starts there does not do what it must")
	}
	return nil
}

// comeBack is the life of a daemon that starts where the power went.
func (i *inspector) comeBack(m moment) {
	i.Helper()
	before := i.tape.off()
	i.environment()
	i.boot()
	ctx, cancel := i.limit()
	defer cancel()
	must(i.T, i.ended(ctx))
	if i.operation.imports {
		must(i.T, imported(ctx, i.crash))
	}
	if !i.operation.lost { // with database and exporters gone, nobody knows whose a directory without a manifest is
		i.swept(ctx)
	}
	i.halt()
	for job, n := range i.tape.off() {
		if n -= before[job]; n > 1 || n == 1 && m.facts.asked[job] {
			i.Errorf("the SNA is asked for %s again", job)
		}
	}
	i.healthy()
	hub := invariants{i.hub}
	hub.checkUnits()
	records := hub.checkStore()
	hub.checkRequests(records)
	if !i.operation.lost { // its records are not those that the manifests were made of
		hub.checkRepositories(records)
	}
	if err := i.checkFacts(m.facts, database{records: records}, true); err != nil {
		i.Error(err)
	}
	for _, b := range records {
		if b.State == record.Completed {
			hub.checkImages(b)
		}
	}
}

// swept waits until the daemon has removed what undone and deleted backups have left.
func (i *inspector) swept(ctx context.Context) {
	i.Helper()
	known := map[string]bool{filepath.Join(i.dir, "repository", ".failed"): true}
	for _, v := range i.vms {
		list, err := i.backups(ctx, v)
		must(i.T, err)
		for _, b := range list {
			if b.State == rpc.Completed {
				known[b.Directory], known[filepath.Dir(b.Directory)] = true, true
			}
		}
	}
	var left []string
	defer func() {
		if len(left) > 0 {
			i.Errorf("%s are left behind", left)
		}
	}()
	for deadline := time.Now().Add(busy); ; time.Sleep(10 * time.Millisecond) {
		vms, err := filepath.Glob(i.dir + "/repository/*")
		must(i.T, err)
		dirs, err := filepath.Glob(i.dir + "/repository/[^.]*/*")
		must(i.T, err)
		left = slices.DeleteFunc(append(vms, dirs...), func(path string) bool { return known[path] })
		if len(left) == 0 || time.Now().After(deadline) {
			return
		}
	}
}
