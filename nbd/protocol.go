package nbd

// Numbers of the NBD protocol (doc/proto.md of NetworkBlockDevice/nbd). All are
// big-endian on the wire.
const (
	magicServer    = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption    = 0x49484156454f5054 // "IHAVEOPT"
	magicOldStyle  = 0x00420281861253
	magicOptReply  = 0x0003e889045565a9
	magicRequest   = 0x25609513
	magicSimple    = 0x67446698
	optionHeader   = 16
	optReplyHeader = 20
	requestHeader  = 28
	simpleHeader   = 16

	flagFixedNewstyle = 1 << 0 // both are handshake flags and client flags
	flagNoZeroes      = 1 << 1

	optAbort = 2
	optInfo  = 6
	optGo    = 7

	repAck        = 1
	repInfo       = 3
	repErrorBit   = 1 << 31
	repErrUnsup   = repErrorBit | 1
	repErrPolicy  = repErrorBit | 2
	repErrInvalid = repErrorBit | 3
	repErrTLS     = repErrorBit | 5
	repErrUnknown = repErrorBit | 6
	repErrStop    = repErrorBit | 7
	repErrBlock   = repErrorBit | 8

	infoExport      = 0
	infoDescription = 2
	infoBlockSize   = 3

	cmdRead        = 0
	cmdWrite       = 1
	cmdDisconnect  = 2
	cmdFlush       = 3
	cmdWriteZeroes = 6
)

// Transmission flags of an export, see ExportInfo.Flags.
const (
	FlagHasFlags        = 1 << 0
	FlagReadOnly        = 1 << 1
	FlagSendFlush       = 1 << 2
	FlagSendFUA         = 1 << 3
	FlagRotational      = 1 << 4
	FlagSendTrim        = 1 << 5
	FlagSendWriteZeroes = 1 << 6
	FlagMultiConn       = 1 << 8
)

const (
	// maxOptReply is the limit of one reply of the handshake, in bytes. The
	// longest valid one is a string of 4096 bytes after two other bytes.
	maxOptReply = 8 << 10
	// maxOptReplies is the limit of replies to one option; the protocol has none.
	maxOptReplies = 64
	// MaxPayload is the largest request that QEMU takes and that SBC sends, in
	// bytes. The protocol promises less.
	MaxPayload = 32 << 20
	// MaxDescription is the longest string of the protocol, in bytes (proto.md,
	// "Values").
	MaxDescription = 4096
)
