package powerloss

import (
	"maps"
	"slices"
)

// A Disk is what must be on a disk, and what may be, after the first operations of a log.
type Disk struct {
	log    Log
	at     int // so many operations were done
	inodes map[int]*inode
	names  map[entry]int // those that are safe, and the names changed since; 0 for one that is gone
	moves  []*move       // changes of names, from the first that is not safe on
	synced int           // index behind the last fsync, where a journal was written at the latest
}

type entry struct {
	dir  int
	name string
}

// An inode is a file or directory, as far as it is safe, and what was done to it since.
type inode struct {
	attrs   Attrs
	data    []byte
	applied int   // how many operations made the data
	pending []int // indices into the log: Write and Truncate
	attr    []int // the same: Attr
}

// A move is a change of one name, or of two in a rename.
type move struct {
	at    int          // index into the log
	sets  []assignment // names and what they stand for from then on
	waits map[int]bool // directories that were not synced since
}

type assignment struct {
	entry
	inode int
}

// NewDisk is the disk before anything of the log was done.
func NewDisk(log Log) *Disk {
	d := &Disk{log: log, inodes: map[int]*inode{}, names: map[entry]int{}}
	for _, r := range log.Roots {
		d.inodes[r.Inode] = &inode{attrs: r.Attrs}
	}
	return d
}

// Next does the next operation of the log; false says that there is none.
func (d *Disk) Next() bool {
	if d.at == len(d.log.Ops) {
		return false
	}
	op := d.log.Ops[d.at]
	switch op.Kind {
	case Make:
		d.inodes[op.Inode] = &inode{attrs: op.Attr}
		if op.Name == "" {
			break // of O_TMPFILE
		}
		d.rename(assignment{entry{op.Dir, op.Name}, op.Inode})
	case Link:
		d.rename(assignment{entry{op.Dir, op.Name}, op.Inode})
	case Remove:
		d.rename(assignment{entry{op.Dir, op.Name}, 0})
	case Rename:
		from := entry{op.Dir, op.Name}
		d.rename(assignment{from, 0}, assignment{entry{op.NewDir, op.NewName}, d.stands(from)})
	case Exchange:
		one, other := entry{op.Dir, op.Name}, entry{op.NewDir, op.NewName}
		d.rename(assignment{one, d.stands(other)}, assignment{other, d.stands(one)})
	case Write, Truncate:
		d.inodes[op.Inode].pending = append(d.inodes[op.Inode].pending, d.at)
	case Attr:
		d.inodes[op.Inode].attr = append(d.inodes[op.Inode].attr, d.at)
	case Sync:
		d.sync(op)
	case Mark:
	}
	d.at++
	return true
}

// At is how many operations were done.
func (d *Disk) At() int { return d.at }

func (d *Disk) rename(sets ...assignment) {
	m := &move{at: d.at, sets: sets, waits: map[int]bool{}}
	for _, s := range sets {
		m.waits[s.dir] = true
	}
	d.moves = append(d.moves, m)
}

// stands is what a name stands for to the running system.
func (d *Disk) stands(e entry) int {
	for _, m := range slices.Backward(d.moves) {
		for _, s := range m.sets {
			if s.entry == e {
				return s.inode
			}
		}
	}
	return d.names[e]
}

func (d *Disk) sync(op Op) {
	n := d.inodes[op.Inode]
	if n.attrs.Dir {
		for _, m := range d.moves {
			delete(m.waits, op.Inode)
		}
		for len(d.moves) > 0 && len(d.moves[0].waits) == 0 {
			for _, s := range d.moves[0].sets {
				d.names[s.entry] = s.inode
			}
			d.moves = d.moves[1:]
		}
	}
	for _, i := range n.pending {
		n.data = apply(n.data, d.log.Ops[i])
	}
	n.applied += len(n.pending)
	n.pending = nil
	if !op.DataOnly {
		if k := len(n.attr); k > 0 {
			n.attrs = attrsOf(n.attrs, d.log.Ops[n.attr[k-1]])
		}
		n.attr = nil
	}
	d.synced = d.at
}

func apply(data []byte, op Op) []byte {
	if op.Kind == Truncate {
		return resized(data, op.Offset)
	}
	return written(data, op.Data, op.Offset)
}

func attrsOf(a Attrs, op Op) Attrs {
	a.Mode, a.UID, a.GID = op.Attr.Mode, op.Attr.UID, op.Attr.GID
	return a
}

// After is what the disk holds when the power goes now, and is so unkind. It is good until the next operation.
func (d *Disk) After(loss Loss) State {
	fate := loss.begin(d)
	s := State{roots: d.log.Roots, names: map[int]map[string]int{}, files: map[int]*File{}}
	names := maps.Clone(d.names)
	for _, m := range d.moves {
		if len(m.waits) > 0 && !fate.keepsName(m.at) {
			continue
		}
		for _, a := range m.sets {
			names[a.entry] = a.inode
		}
	}
	for e, id := range names {
		if id == 0 {
			continue
		}
		if s.names[e.dir] == nil {
			s.names[e.dir] = map[string]int{}
		}
		s.names[e.dir][e.name] = id
	}
	for _, id := range slices.Sorted(maps.Keys(d.inodes)) { // sorted, because a fate may be drawn by lot
		s.files[id] = d.file(id, fate)
	}
	return s
}

// file is what becomes of one file or directory.
func (d *Disk) file(id int, fate fate) *File {
	n := d.inodes[id]
	f := &File{Attrs: n.attrs, inode: id}
	parts := make([]part, 0, len(n.pending))
	for _, i := range n.pending {
		parts = append(parts, fate.part(i, d.log.Ops[i]))
	}
	for _, i := range n.attr {
		if fate.keepsAttr(i) {
			f.Attrs = attrsOf(f.Attrs, d.log.Ops[i])
		}
	}
	f.key = keyOf(id, n.applied, parts)
	f.content = func() []byte {
		data := slices.Clone(n.data)
		for k, i := range n.pending {
			data = parts[k].apply(data, d.log.Ops[i])
		}
		return data
	}
	return f
}
