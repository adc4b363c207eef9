package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Why a handshake failed. Test with errors.Is.
var (
	// ErrNoSuchExport: a server answers and has no export of that name.
	ErrNoSuchExport = errors.New("server has no such export")
	// ErrNotNBD: what answers is not an NBD server that this client can use.
	ErrNotNBD = errors.New("not a usable NBD server")
	// ErrClosedEarly: the server closed the connection during the handshake,
	// as qemu-nbd does when it could not open its image or is ending.
	ErrClosedEarly = errors.New("server closed the connection during the handshake")
)

// OptionError is a reply of the server that refuses an option.
type OptionError struct {
	Code    uint32 // NBD_REP_ERR_*
	Message string // the server's own words, at most 4 KiB, made printable
}

func (e *OptionError) Error() string {
	text, ok := map[uint32]string{
		repErrUnsup:   "option not supported",
		repErrPolicy:  "forbidden by policy",
		repErrInvalid: "invalid request",
		repErrTLS:     "TLS required",
		repErrUnknown: "export unknown",
		repErrStop:    "server is shutting down",
		repErrBlock:   "block size must be negotiated",
	}[e.Code]
	if !ok {
		text = fmt.Sprintf("error %#x", e.Code)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Is lets errors.Is find ErrNoSuchExport.
func (e *OptionError) Is(target error) bool {
	return target == ErrNoSuchExport && e.Code == repErrUnknown
}

// handshake negotiates over rw up to the reply to option, which is optInfo or
// optGo. It accepts fixed newstyle only. The client's flags and the option are
// one write: Nagle's algorithm would delay a second small one.
func handshake(rw io.ReadWriter, option uint32, export string) (ExportInfo, error) {
	if len(export) > 4096 {
		return ExportInfo{}, fmt.Errorf("export name of %d bytes: the protocol allows 4096", len(export))
	}
	flags, err := readGreeting(rw)
	if err != nil {
		return ExportInfo{}, err
	}
	message := binary.BigEndian.AppendUint32(nil, uint32(flags&(flagFixedNewstyle|flagNoZeroes)))
	message = append(message, optionMessage(option, exportRequest(export))...)
	if _, err := rw.Write(message); err != nil {
		return ExportInfo{}, closedEarly(err)
	}
	return readExport(rw, option)
}

func readGreeting(r io.Reader) (flags uint16, err error) {
	var greeting [18]byte
	if _, err := io.ReadFull(r, greeting[:8]); err != nil {
		return 0, closedEarly(err)
	}
	// Checked before the rest is read: another kind of server may send no
	// more.
	if binary.BigEndian.Uint64(greeting[:]) != magicServer {
		return 0, fmt.Errorf("%w: greeting %q", ErrNotNBD, greeting[:8])
	}
	if _, err := io.ReadFull(r, greeting[8:]); err != nil {
		return 0, closedEarly(err)
	}
	switch magic := binary.BigEndian.Uint64(greeting[8:]); magic {
	case magicOption:
	case magicOldStyle:
		return 0, fmt.Errorf("%w: old-style protocol, which has no export names", ErrNotNBD)
	default:
		return 0, fmt.Errorf("%w: greeting continues with %#016x", ErrNotNBD, magic)
	}
	if flags = binary.BigEndian.Uint16(greeting[16:]); flags&flagFixedNewstyle == 0 {
		return 0, fmt.Errorf("%w: no fixed newstyle negotiation (flags %#x)", ErrNotNBD, flags)
	}
	return flags, nil
}

func optionMessage(option uint32, data []byte) []byte {
	message := make([]byte, 0, optionHeader+len(data))
	message = binary.BigEndian.AppendUint64(message, magicOption)
	message = binary.BigEndian.AppendUint32(message, option)
	message = binary.BigEndian.AppendUint32(message, uint32(len(data)))
	return append(message, data...)
}

// exportRequest is the data of NBD_OPT_INFO and NBD_OPT_GO. A client that asks
// for block sizes must respect them; Conn does.
func exportRequest(export string) []byte {
	data := binary.BigEndian.AppendUint32(nil, uint32(len(export)))
	data = append(data, export...)
	data = binary.BigEndian.AppendUint16(data, 2)
	data = binary.BigEndian.AppendUint16(data, infoBlockSize)
	return binary.BigEndian.AppendUint16(data, infoDescription)
}

func readExport(r io.Reader, option uint32) (ExportInfo, error) {
	info, described := newExportInfo(), false
	for range maxOptReplies {
		kind, data, err := readOptionReply(r, option)
		if err != nil {
			return ExportInfo{}, err
		}
		switch {
		case kind == repAck && described:
			return info, nil
		case kind == repAck:
			return ExportInfo{}, fmt.Errorf("%w: acknowledged the export without its size", ErrNotNBD)
		case kind == repInfo:
			isExport, err := info.readItem(data)
			if err != nil {
				return ExportInfo{}, fmt.Errorf("%w: %w", ErrNotNBD, err)
			}
			described = described || isExport
		case kind&repErrorBit != 0:
			return ExportInfo{}, &OptionError{Code: kind, Message: Printable(data)}
		default:
			return ExportInfo{}, fmt.Errorf("%w: reply of type %d", ErrNotNBD, kind)
		}
	}
	return ExportInfo{}, fmt.Errorf("%w: more than %d replies to one option", ErrNotNBD, maxOptReplies)
}

// readOptionReply reads one reply of at most maxOptReply bytes.
func readOptionReply(r io.Reader, option uint32) (kind uint32, data []byte, err error) {
	var header [optReplyHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, closedEarly(err)
	}
	if magic := binary.BigEndian.Uint64(header[:]); magic != magicOptReply {
		return 0, nil, fmt.Errorf("%w: option reply begins with %#016x", ErrNotNBD, magic)
	}
	if got := binary.BigEndian.Uint32(header[8:]); got != option {
		return 0, nil, fmt.Errorf("%w: reply to option %d, which was not asked", ErrNotNBD, got)
	}
	kind = binary.BigEndian.Uint32(header[12:])
	length := binary.BigEndian.Uint32(header[16:])
	if length > maxOptReply {
		return 0, nil, fmt.Errorf("%w: option reply of %d bytes", ErrNotNBD, length)
	}
	data = make([]byte, length)
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, nil, closedEarly(err)
	}
	return kind, data, nil
}

// closedEarly turns an end of the stream into ErrClosedEarly.
func closedEarly(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err) {
		return fmt.Errorf("%w: %w", ErrClosedEarly, err)
	}
	return err
}

// Printable makes text from an unknown server or program fit for a log line: valid UTF-8, one line, at most MaxDescription bytes.
func Printable(text []byte) string {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '.'
	}, strings.ToValidUTF8(string(text), "."))
	if len(clean) > MaxDescription {
		clean = strings.ToValidUTF8(clean[:MaxDescription], "")
	}
	return clean
}
