package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ExportInfo is what a server says of an export.
type ExportInfo struct {
	SizeBytes uint64
	Flags     uint16 // FlagReadOnly, FlagMultiConn, ...
	// Block sizes in bytes. If the server sends none: 1, 4096, 32 MiB.
	MinBlock, PreferredBlock, MaxBlock uint32
	// Description is the server's free text (qemu-nbd --description), or "".
	// Export names repeat from backup to backup; a description with the
	// backup's id tells one backup from the next.
	Description string
}

// ReadOnly reports whether the export refuses writes.
func (i ExportInfo) ReadOnly() bool { return i.Flags&FlagReadOnly != 0 }

// MultiConn reports whether all connections see the same data: a flush on one
// of them covers the writes of all.
func (i ExportInfo) MultiConn() bool { return i.Flags&FlagMultiConn != 0 }

func newExportInfo() ExportInfo {
	return ExportInfo{MinBlock: 1, PreferredBlock: 4096, MaxBlock: MaxPayload}
}

// readItem reads one NBD_REP_INFO. It skips unknown kinds, as the protocol
// requires, and reports whether the item described the export itself.
func (i *ExportInfo) readItem(item []byte) (isExport bool, err error) {
	if len(item) < 2 {
		return false, errors.New("information without a type")
	}
	kind, body := binary.BigEndian.Uint16(item), item[2:]
	switch kind {
	case infoExport:
		if len(body) != 10 {
			return false, fmt.Errorf("export information of %d bytes", len(body))
		}
		i.SizeBytes = binary.BigEndian.Uint64(body)
		i.Flags = binary.BigEndian.Uint16(body[8:])
		if i.SizeBytes > 1<<63-1 {
			return false, fmt.Errorf("export of %d bytes", i.SizeBytes)
		}
		return true, nil
	case infoDescription:
		i.Description = Printable(body)
	case infoBlockSize:
		if len(body) != 12 {
			return false, fmt.Errorf("block size information of %d bytes", len(body))
		}
		return false, i.readBlockSizes(body)
	}
	return false, nil
}

func (i *ExportInfo) readBlockSizes(body []byte) error {
	least := binary.BigEndian.Uint32(body)
	preferred := binary.BigEndian.Uint32(body[4:])
	most := binary.BigEndian.Uint32(body[8:])
	if least == 0 || least&(least-1) != 0 || least > 64<<10 || preferred < least || most < least {
		return fmt.Errorf("impossible block sizes %d, %d, %d", least, preferred, most)
	}
	i.MinBlock, i.PreferredBlock, i.MaxBlock = least, preferred, most
	return nil
}
