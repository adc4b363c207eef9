package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Layouts of linux/inet_diag.h, all in the host's byte order but for ports.
const (
	sockDiagByFamily = 20
	diagRequestBytes = 56 // struct inet_diag_req_v2
	diagMessageBytes = 72 // struct inet_diag_msg
	diagStateOffset  = 1
	diagPortOffset   = 4
	diagInodeOffset  = 68
)

// diagRequest asks for all TCP sockets of a family with this local port and
// state. A dump answers with those whose idiag_sport is the one asked for.
func diagRequest(family uint8, port uint16, state uint8) []byte {
	request := make([]byte, unix.SizeofNlMsghdr+diagRequestBytes)
	binary.NativeEndian.PutUint32(request[0:], uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := request[unix.SizeofNlMsghdr:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[4:], 1<<state)
	binary.BigEndian.PutUint16(body[8:], port)
	return request
}

// readDiag reads the answer to one request to its end.
func readDiag(fd int, port uint16, state uint8, inodes []uint32) ([]uint32, error) {
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("netlink: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return nil, fmt.Errorf("netlink: %w", err)
		}
		for _, message := range messages {
			switch message.Header.Type {
			case unix.NLMSG_DONE:
				return inodes, nil
			case unix.NLMSG_ERROR:
				return nil, fmt.Errorf("netlink: %w", diagErrno(message.Data))
			}
			data := message.Data
			if len(data) >= diagMessageBytes && data[diagStateOffset] == state &&
				binary.BigEndian.Uint16(data[diagPortOffset:]) == port {
				inodes = append(inodes, binary.NativeEndian.Uint32(data[diagInodeOffset:]))
			}
		}
	}
}

func diagErrno(data []byte) error {
	if len(data) < 4 {
		return errors.New("error without a number")
	}
	return syscall.Errno(-int32(binary.NativeEndian.Uint32(data)))
}
