package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Layouts of linux/inet_diag.h. All is in the host's byte order, except ports.
const (
	sockDiagByFamily = 20
	diagRequestBytes = 56 // struct inet_diag_req_v2
	diagMessageBytes = 72 // struct inet_diag_msg
	diagStateOffset  = 1
	diagPortOffset   = 4
	diagAddressStart = 8 // 4 bytes for IPv4, 16 for IPv6
	diagInodeOffset  = 68
)

// diagSockets asks over netlink (sock_diag(7)). The kernel itself leaves out
// other ports and states.
func diagSockets(port uint16, state uint8) ([]socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	defer unix.Close(fd)
	var sockets []socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		request := diagRequest(family, port, state)
		if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return nil, fmt.Errorf("netlink: %w", err)
		}
		found, err := readAnswer(fd, port, state)
		if err != nil {
			return nil, err
		}
		sockets = append(sockets, found...)
	}
	return sockets, nil
}

// diagRequest asks for all TCP sockets of a family with this state and local
// port, or with any port for anyPort.
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

// readAnswer reads the answer to one request to its end.
func readAnswer(fd int, port uint16, state uint8) (sockets []socket, err error) {
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("netlink: %w", err)
		}
		found, done, err := parseDiag(buffer[:n], port, state)
		if err != nil {
			return nil, fmt.Errorf("netlink: %w", err)
		}
		if sockets = append(sockets, found...); done {
			return sockets, nil
		}
	}
}

// parseDiag reads one datagram of an answer, and reports whether it is the last.
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
		if s := parseSocket(data); port == anyPort || s.port == port {
			sockets = append(sockets, s)
		}
	}
	return sockets, false, nil
}

// parseSocket reads a struct inet_diag_msg.
func parseSocket(data []byte) socket {
	address := data[diagAddressStart : diagAddressStart+16]
	if data[0] == unix.AF_INET {
		address = address[:4]
	}
	local, _ := netip.AddrFromSlice(address)
	return socket{
		port:    binary.BigEndian.Uint16(data[diagPortOffset:]),
		inode:   binary.NativeEndian.Uint32(data[diagInodeOffset:]),
		address: local.Unmap(),
	}
}

func diagErrno(data []byte) error {
	if len(data) < 4 {
		return errors.New("error without a number")
	}
	return syscall.Errno(-int32(binary.NativeEndian.Uint32(data)))
}
