package dbfile

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
)

// pages checks the pages of a file by ordinary reads, before bbolt follows them. bbolt trusts its pages: a wrong number in one
// makes it read behind the end of its memory map, which ends the process, or count to four billion, which takes the memory of
// the machine.
//
// The layout is bbolt's file format 2, in the byte order of the host: a page is a header of 16 bytes (number, flags, count,
// number of overflow pages), elements of 16 bytes each, and the data that they point to.
type pages struct {
	file     io.ReaderAt
	pageSize uint64
	root     uint64 // page of the outermost bucket
	freelist uint64
	high     uint64 // the number of the first page that is not in use
	seen     map[uint64]bool
	harm     headerHarm
}

// headerHarm is what is wrong with the two header pages at the beginning of a file. Every transaction writes one of them, in
// turns. So when one is damaged, the other has the last state or the state before it.
type headerHarm struct {
	lost    bool // one describes no state: the last transaction may be missing
	blemish bool // one is wrong outside of its description, which bbolt sees only when it checks the file
}

func (h headerHarm) any() bool { return h.lost || h.blemish }

const (
	pageHeaderBytes  = 16
	pageElementBytes = 16
	bucketBytes      = 16
	metaBytes        = 64
	metaSumBytes     = 56 // of it, under the checksum
	boltMagic        = 0xED0CDAED
	boltVersion      = 2
	branchPage       = 0x01
	leafPage         = 0x02
	metaPage         = 0x04
	freelistPage     = 0x10
	bucketElement    = 0x01
	countElsewhere   = 0xFFFF // the first entry of the freelist is its count
	noFreelist       = 1<<64 - 1
)

// readPages finds the state of the last transaction, as bbolt does: of the two header pages the intact one, or the later one.
func readPages(file io.ReaderAt, pageSize, fileBytes int64) (*pages, error) {
	var last []byte
	var harm headerHarm
	for page := range int64(2) {
		header := make([]byte, pageHeaderBytes+metaBytes)
		if _, err := file.ReadAt(header, page*pageSize); err != nil {
			return nil, err
		}
		meta := header[pageHeaderBytes:]
		sum := fnv.New64a()
		sum.Write(meta[:metaSumBytes])
		whole := binary.NativeEndian.Uint32(meta) == boltMagic && binary.NativeEndian.Uint32(meta[4:]) == boltVersion &&
			binary.NativeEndian.Uint64(meta[metaSumBytes:]) == sum.Sum64()
		if whole && (last == nil || number(meta, 48) > number(last, 48)) {
			last = meta
		}
		harm.lost = harm.lost || !whole
		if number(header, 0) != uint64(page) || binary.NativeEndian.Uint16(header[8:]) != metaPage {
			harm.blemish = true
		}
	}
	if last == nil {
		return nil, fmt.Errorf("both header pages are damaged")
	}
	p := &pages{
		file: file, pageSize: uint64(pageSize), root: number(last, 16), freelist: number(last, 32), high: number(last, 40),
		seen: map[uint64]bool{}, harm: harm,
	}
	if there := uint64(fileBytes) / p.pageSize; p.high > there {
		return nil, fmt.Errorf("it has %d of its %d pages", there, p.high)
	}
	return p, nil
}

func number(b []byte, offset int) uint64 { return binary.NativeEndian.Uint64(b[offset:]) }

// A page is one page with its overflow pages.
type page struct {
	id    uint64
	flags uint16
	count uint64
	data  []byte // header included
}

// read reads a page that is wholly within the file. No two pages overlap, so each is read once.
func (p *pages) read(id uint64) (page, error) {
	if id < 2 || id >= p.high {
		return page{}, fmt.Errorf("page %d does not exist: the file has %d", id, p.high)
	}
	header := make([]byte, pageHeaderBytes)
	if _, err := p.file.ReadAt(header, int64(id*p.pageSize)); err != nil {
		return page{}, err
	}
	more := uint64(binary.NativeEndian.Uint32(header[12:]))
	if found := number(header, 0); found != id || more >= p.high-id {
		return page{}, fmt.Errorf("page %d has the number %d and %d more pages, and the file has %d", id, found, more, p.high)
	}
	for part := id; part <= id+more; part++ {
		if p.seen[part] {
			return page{}, fmt.Errorf("page %d is used twice", part)
		}
		p.seen[part] = true
	}
	data := make([]byte, (more+1)*p.pageSize)
	if _, err := p.file.ReadAt(data, int64(id*p.pageSize)); err != nil {
		return page{}, err
	}
	return pageOf(id, data), nil
}

func pageOf(id uint64, data []byte) page {
	return page{
		id: id, flags: binary.NativeEndian.Uint16(data[8:]), count: uint64(binary.NativeEndian.Uint16(data[10:])), data: data,
	}
}

// checkFreelist checks the list of free pages, which bbolt reads when it opens a file.
func (p *pages) checkFreelist() error {
	if p.freelist == noFreelist {
		return nil
	}
	list, err := p.read(p.freelist)
	if err != nil {
		return fmt.Errorf("freelist: %w", err)
	}
	ids := list.data[pageHeaderBytes:]
	if list.count == countElsewhere {
		list.count, ids = number(ids, 0), ids[8:]
	}
	if list.flags != freelistPage || list.count > uint64(len(ids))/8 {
		return fmt.Errorf("freelist: page %d has flags %#x and %d entries", list.id, list.flags, list.count)
	}
	for i := range list.count {
		if id := number(ids, int(8*i)); id < 2 || id >= p.high {
			return fmt.Errorf("freelist: page %d does not exist: the file has %d", id, p.high)
		}
	}
	return nil
}

// check checks every page that is in use.
func (p *pages) check() error {
	if err := p.checkFreelist(); err != nil {
		return err
	}
	return p.checkTree(p.root)
}

// checkTree checks a page and every page below it, and their buckets.
func (p *pages) checkTree(id uint64) error {
	found, err := p.read(id)
	if err != nil {
		return err
	}
	return p.checkElements(found)
}

func (p *pages) checkElements(found page) error {
	if end := pageHeaderBytes + found.count*pageElementBytes; end > uint64(len(found.data)) {
		return fmt.Errorf("page %d: %d elements in %d bytes", found.id, found.count, len(found.data))
	}
	for i := range found.count {
		element := found.data[pageHeaderBytes+i*pageElementBytes:]
		var err error
		switch found.flags {
		case branchPage:
			err = p.checkBranch(element)
		case leafPage:
			err = p.checkLeaf(element)
		default:
			err = fmt.Errorf("flags %#x", found.flags)
		}
		if err != nil {
			return fmt.Errorf("page %d: %w", found.id, err)
		}
	}
	return nil
}

// checkBranch checks an element of a branch page: offset and size of the key, number of the page. element begins where the
// offset counts from.
func (p *pages) checkBranch(element []byte) error {
	if _, err := part(element, binary.NativeEndian.Uint32(element), binary.NativeEndian.Uint32(element[4:])); err != nil {
		return err
	}
	return p.checkTree(number(element, 8))
}

// checkLeaf checks an element of a leaf page: flags, offset of the key, sizes of key and value. The value of a bucket is the
// number of its root page or, if that is 0, the page itself.
func (p *pages) checkLeaf(element []byte) error {
	offset, keyBytes := binary.NativeEndian.Uint32(element[4:]), binary.NativeEndian.Uint32(element[8:])
	if _, err := part(element, offset, keyBytes); err != nil {
		return err
	}
	value, err := part(element[offset:], keyBytes, binary.NativeEndian.Uint32(element[12:]))
	if err != nil || binary.NativeEndian.Uint32(element)&bucketElement == 0 {
		return err
	}
	if len(value) < bucketBytes {
		return fmt.Errorf("a bucket of %d bytes", len(value))
	}
	if root := number(value, 0); root != 0 {
		return p.checkTree(root)
	}
	inline := value[bucketBytes:]
	if len(inline) < pageHeaderBytes {
		return fmt.Errorf("a bucket in %d bytes", len(inline))
	}
	found := pageOf(0, inline)
	if more := binary.NativeEndian.Uint32(inline[12:]); found.flags != leafPage || number(inline, 0) != 0 || more != 0 {
		return fmt.Errorf("an inline bucket has flags %#x, number %d and %d more pages", found.flags, number(inline, 0), more)
	}
	return p.checkElements(found)
}

func part(data []byte, offset, size uint32) ([]byte, error) {
	if end := uint64(offset) + uint64(size); end > uint64(len(data)) {
		return nil, fmt.Errorf("%d bytes at %d of %d", size, offset, len(data))
	}
	return data[offset : offset+size], nil
}
