package powerloss

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
)

// A history is a log that is made by hand.
type history struct {
	*testing.T
	ops []Op
}

const (
	top = 1 // the directory that is there
	sub = 2
	one = 3
	two = 4
)

func (h *history) disk() *Disk {
	d := NewDisk(Log{Roots: []Root{{Inode: top, Path: "/fs", Attrs: Attrs{Dir: true}}}, Ops: h.ops})
	for d.Next() {
	}
	return d
}

// want compares what is left after a loss, as "name=content", with what must be.
func (h *history) want(loss Loss, want ...string) {
	h.Helper()
	var got []string
	for path, f := range h.disk().After(loss).Files() {
		entry := strings.TrimPrefix(path, "/fs/")
		if !f.Dir {
			entry += "=" + strings.ReplaceAll(string(f.Content()), "\x00", "0")
		}
		got = append(got, entry)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		h.Errorf("%v is lost: %q is left, want %q", loss, got, want)
	}
}

func (h *history) do(ops ...Op) { h.ops = append(h.ops, ops...) }

func makeFile(inode, dir int, name string) Op {
	return Op{Kind: Make, Inode: inode, Dir: dir, Name: name}
}

func makeDir(inode, dir int, name string) Op {
	return Op{Kind: Make, Inode: inode, Dir: dir, Name: name, Attr: Attrs{Dir: true}}
}

func write(inode int, at int64, data string) Op {
	return Op{Kind: Write, Inode: inode, Offset: at, Data: []byte(data)}
}
func synced(inode int) Op { return Op{Kind: Sync, Inode: inode} }
func rename(dir int, name string, to int, newName string) Op {
	return Op{Kind: Rename, Dir: dir, Name: name, NewDir: to, NewName: newName}
}

func TestFileNeedsItsSyncAndItsName(t *testing.T) {
	h := &history{T: t}
	h.do(makeFile(one, top, "a"), write(one, 0, "old"))
	h.want(Nothing, "a=old")
	h.want(Unsynced)
	h.want(UnsyncedData, "a=000")
	h.want(UnsyncedNames)
	h.do(synced(one))
	h.want(Unsynced)
	h.want(Unjournaled, "a=old")
	h.do(synced(top), write(one, 0, "new"))
	h.want(Unsynced, "a=old")
	h.want(UnsyncedNames, "a=new")
	h.want(UnsyncedData, "a=old")
	h.do(Op{Kind: Truncate, Inode: one, Offset: 1}, synced(one))
	h.want(Unsynced, "a=n")
}

func TestRename(t *testing.T) {
	h := &history{T: t}
	h.do(makeFile(one, top, "a"), write(one, 0, "1"), synced(one), makeFile(two, top, "b"), write(two, 0, "2"), synced(two), synced(top))
	h.do(rename(top, "b", top, "a"))
	h.want(Unsynced, "a=1", "b=2")
	h.want(Nothing, "a=2")
	h.do(synced(top))
	h.want(Unsynced, "a=2")
}

// Two names that are exchanged are so together or not at all.
func TestExchange(t *testing.T) {
	h := &history{T: t}
	h.do(makeDir(sub, top, "d"), makeFile(one, top, "a"), write(one, 0, "1"), synced(one), synced(top),
		makeFile(two, sub, "b"), write(two, 0, "2"), synced(two), synced(sub))
	h.do(Op{Kind: Exchange, Dir: top, Name: "a", NewDir: sub, NewName: "b"})
	h.want(Unsynced, "a=1", "d", "d/b=2")
	h.want(Nothing, "a=2", "d", "d/b=1")
	h.do(synced(sub))
	h.want(Unsynced, "a=1", "d", "d/b=2")
	h.do(synced(top))
	h.want(Unsynced, "a=2", "d", "d/b=1")
}

// A move between two directories waits for both, and is there as a whole or not at all.
func TestMove(t *testing.T) {
	h := &history{T: t}
	h.do(makeDir(sub, top, "d"), makeFile(one, top, "a"), write(one, 0, "1"), synced(one), synced(top), rename(top, "a", sub, "b"))
	for _, dir := range []int{0, top} {
		if dir != 0 {
			h.do(synced(dir))
		}
		h.want(Unsynced, "a=1", "d")
		h.want(Nothing, "d", "d/b=1")
	}
	h.do(synced(sub))
	h.want(Unsynced, "d", "d/b=1")
}

// A name that is used again says what was done last, also when an earlier change of it is safe later.
func TestNameUsedAgain(t *testing.T) {
	h := &history{T: t}
	h.do(makeDir(sub, top, "d"), makeFile(one, top, "a"), write(one, 0, "1"), synced(one), synced(top))
	h.do(rename(top, "a", sub, "b"), makeFile(two, top, "a"), write(two, 0, "2"), synced(two), synced(top))
	h.want(Unsynced, "a=2", "d")
	h.do(synced(sub))
	h.want(Unsynced, "a=2", "d", "d/b=1")
	h.do(Op{Kind: Remove, Dir: top, Name: "a"})
	h.want(Unsynced, "a=2", "d", "d/b=1")
	h.want(Nothing, "d", "d/b=1")
}

func TestAttrsNeedFsync(t *testing.T) {
	h := &history{T: t}
	h.do(makeFile(one, top, "a"), synced(top), Op{Kind: Attr, Inode: one, Attr: Attrs{Mode: 0o440}}, Op{Kind: Sync, Inode: one, DataOnly: true})
	mode := func() uint32 { return h.disk().After(Unsynced).Files()["/fs/a"].Mode }
	if mode() != 0 {
		t.Error("fdatasync brought the mode to the disk")
	}
	h.do(synced(one))
	if mode() != 0o440 {
		t.Error("fsync did not bring the mode to the disk")
	}
}

// By lot everything happens that may, and nothing else: names and sectors are lost one without the other, what was synced is
// there, and states of the same fingerprint are the same.
func TestRandomLoss(t *testing.T) {
	h := &history{T: t}
	safe := bytes.Repeat([]byte{'s'}, 1024)
	h.do(makeFile(one, top, "a"), write(one, 0, string(safe)), synced(one), synced(top))
	h.do(write(one, 512, strings.Repeat("n", 1024)), makeFile(two, top, "b"), makeDir(sub, top, "c"))
	seen := map[string]string{}
	kinds := map[string]bool{}
	for n := range uint64(400) {
		s := h.disk().After(Random(1, n))
		files := s.Files()
		a := files["/fs/a"].Content()
		if !bytes.Equal(a[:512], safe[:512]) {
			t.Fatalf("what was synced is lost: %q", a)
		}
		sectors := ""
		for at := 512; at < len(a); at += 512 {
			sectors += string(a[at])
		}
		names := strings.Join(slices.Sorted(maps.Keys(files)), " ")
		kinds[sectors], kinds[names] = true, true
		whole := names + sectors
		if was, ok := seen[s.Fingerprint()]; ok && was != whole {
			t.Fatalf("two states have the same fingerprint: %q, %q", was, whole)
		}
		seen[s.Fingerprint()] = whole
	}
	for _, want := range []string{"s", "nn", "s\x00", "n\x00", "sn", "/fs/a", "/fs/a /fs/b", "/fs/a /fs/c", "/fs/a /fs/b /fs/c"} {
		if !kinds[want] {
			t.Errorf("%q never happens: %v", want, slices.Sorted(maps.Keys(kinds)))
		}
	}
}
