package sockets

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

// diagRequest asks for all TCP sockets of a family with this local port, or any
// for 0, and state. A dump answers with those whose idiag_sport is the one asked for.
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
func readDiag(fd int, port uint16, state uint8, sockets []socket) ([]socket, error) {
	err := readAnswer(fd, func(datagram []byte) (bool, error) {
		found, done, err := parseDiag(datagram, port, state)
		sockets = append(sockets, found...)
		return done, err
	})
	return sockets, err
}

// readAnswer reads datagrams until one is the last.
func readAnswer(fd int, parse func(datagram []byte) (done bool, err error)) error {
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("netlink: %w", err)
		}
		done, err := parse(buffer[:n])
		if err != nil {
			return fmt.Errorf("netlink: %w", err)
		}
		if done {
			return nil
		}
	}
}

// parseDiag reads one datagram of an answer, and says whether it is the last.
func parseDiag(datagram []byte, port uint16, state uint8) (sockets []socket, done bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil {
		return nil, false, err
	}
	for _, message := range messages {
		switch message.Header.Type {
		case unix.NLMSG_DONE:
			return sockets, true, nil
		case unix.NLMSG_ERROR:
			return nil, false, diagErrno(message.Data)
		}
		data := message.Data
		if len(data) < diagMessageBytes || data[diagStateOffset] != state {
			continue
		}
		s := socket{binary.BigEndian.Uint16(data[diagPortOffset:]), binary.NativeEndian.Uint32(data[diagInodeOffset:])}
		if port == anyPort || s.port == port {
			sockets = append(sockets, s)
		}
	}
	return sockets, false, nil
}

func diagErrno(data []byte) error {
	if len(data) < 4 {
		return errors.New("error without a number")
	}
	return syscall.Errno(-int32(binary.NativeEndian.Uint32(data)))
}
