package powerloss

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
)

// A Loss says what a disk loses of that which nothing obliges it to keep.
type Loss struct {
	Name  string
	begin func(d *Disk) fate
}

func (l Loss) String() string { return l.Name }

// A fate decides, operation by operation.
type fate interface {
	keepsName(index int) bool
	keepsAttr(index int) bool
	part(index int, op Op) part
}

// The losses in which nothing is left to chance.
var (
	// Nothing is what a crash of a process leaves, with SIGKILL.
	Nothing = fixed("nothing", all, whole)
	// Unsynced is the most that a disk may lose.
	Unsynced = fixed("all that was not synced", none, gone)
	// UnsyncedData leaves files with their names and their sizes, and zeroes in place of what was written.
	UnsyncedData = fixed("data that was not synced", all, grown)
	// UnsyncedNames leaves data that nobody can find.
	UnsyncedNames = fixed("names that were not synced", none, whole)
	// Unjournaled is what ext4 loses: what happened to names since the last fsync of anything, and data that was not synced.
	Unjournaled = Loss{"what no journal has", func(d *Disk) fate { return choice{upTo(d.synced), gone} }}
)

// Fixed are the losses in which nothing is left to chance.
var Fixed = []Loss{Nothing, Unsynced, UnsyncedData, UnsyncedNames, Unjournaled}

// Random is a loss by lot. The same seed gives the same one at the same place of the same log. Every second one keeps changes
// of names up to some moment, as a journal does, and the others any of them.
func Random(seed, n uint64) Loss {
	return Loss{fmt.Sprintf("by lot %d/%d", seed, n), func(d *Disk) fate {
		lot := rand.New(rand.NewPCG(seed, uint64(d.at)<<16|n))
		l := &lottery{Rand: lot, kept: lot.Float64(), journal: -1}
		if n%2 == 0 {
			l.journal = d.synced + lot.IntN(d.at-d.synced+1)
		}
		return l
	}}
}

func fixed(name string, names func(int) bool, data func(op Op) part) Loss {
	return Loss{name, func(*Disk) fate { return choice{names, data} }}
}

func all(int) bool  { return true }
func none(int) bool { return false }

func upTo(end int) func(int) bool { return func(i int) bool { return i < end } }

type choice struct {
	names func(int) bool
	data  func(op Op) part
}

func (c choice) keepsName(i int) bool   { return c.names(i) }
func (c choice) keepsAttr(i int) bool   { return c.names(i) }
func (c choice) part(_ int, op Op) part { return c.data(op) }

type lottery struct {
	*rand.Rand
	kept    float64 // how likely something is to be kept
	journal int     // -1, or what happened to names later is lost
}

func (l *lottery) keepsName(i int) bool {
	if l.journal >= 0 {
		return i < l.journal
	}
	return l.Float64() < l.kept
}

func (l *lottery) keepsAttr(i int) bool { return l.keepsName(i) }

func (l *lottery) part(_ int, op Op) part {
	switch {
	case l.Float64() < l.kept:
		return whole(op)
	case l.IntN(3) == 0:
		return gone(op)
	case l.IntN(2) == 0:
		return grown(op)
	}
	return part{kind: torn, seed: l.Uint64()}
}

// A part is what is left of one write or truncation.
type part struct {
	kind partKind
	seed uint64 // of torn: which sectors are there
}

type partKind byte

const (
	isWhole partKind = 'w'
	isGone  partKind = '-'
	isGrown partKind = 'g' // the file has grown, the data is not there
	torn    partKind = 't' // some sectors are there
)

func whole(Op) part { return part{kind: isWhole} }
func gone(Op) part  { return part{kind: isGone} }
func grown(Op) part { return part{kind: isGrown} }

const sector = 512

func (p part) apply(data []byte, op Op) []byte {
	end := op.Offset + int64(len(op.Data))
	switch {
	case p.kind == isGone:
		return data
	case p.kind == isWhole || op.Kind == Truncate:
		return apply(data, op)
	case end > int64(len(data)):
		data = resized(data, end)
	}
	if p.kind == isGrown {
		return data
	}
	lot := rand.New(rand.NewPCG(p.seed, 0))
	for at := op.Offset; at < end; {
		next := min(at/sector*sector+sector, end)
		if lot.IntN(2) == 0 {
			copy(data[at:next], op.Data[at-op.Offset:next-op.Offset])
		}
		at = next
	}
	return data
}

// keyOf names a content: files of the same key hold the same.
func keyOf(inode, applied int, parts []part) string {
	for len(parts) > 0 && parts[0].kind == isWhole {
		applied, parts = applied+1, parts[1:]
	}
	for len(parts) > 0 && parts[len(parts)-1].kind == isGone {
		parts = parts[:len(parts)-1]
	}
	h := fnv.New128a()
	for _, p := range parts {
		fmt.Fprintf(h, "%c%d,", p.kind, p.seed)
	}
	return fmt.Sprintf("%d:%d:%d:%x", inode, applied, len(parts), h.Sum(nil))
}
