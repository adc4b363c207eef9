package sockets

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// diagAddressOffset is where inet_diag_msg has the local address: 4 bytes of it for IPv4, 16 for IPv6.
const diagAddressOffset = 8

// Taken gives the TCP ports of this network namespace on which nobody else can listen at an address, because somebody
// listens there or on all addresses.
func Taken(at netip.Addr) (map[uint16]bool, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("listing the ports in use: netlink: %w", err)
	}
	defer unix.Close(fd)
	ports := map[uint16]bool{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		request := diagRequest(family, 0, tcpListen) // port 0: all of them
		if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return nil, fmt.Errorf("listing the ports in use: netlink: %w", err)
		}
		err := readAnswer(fd, func(datagram []byte) (done bool, err error) { return parseTaken(datagram, at, ports) })
		if err != nil {
			return nil, fmt.Errorf("listing the ports in use: %w", err)
		}
	}
	return ports, nil
}

// parseTaken adds the ports of one datagram of an answer, and says whether it is the last.
func parseTaken(datagram []byte, at netip.Addr, ports map[uint16]bool) (done bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil {
		return false, err
	}
	for _, message := range messages {
		switch message.Header.Type {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			return false, diagErrno(message.Data)
		}
		data := message.Data
		if len(data) < diagMessageBytes || data[diagStateOffset] != tcpListen {
			continue
		}
		bytes := data[diagAddressOffset : diagAddressOffset+16]
		if data[0] == unix.AF_INET {
			bytes = bytes[:4]
		}
		address, _ := netip.AddrFromSlice(bytes)
		if address = address.Unmap(); address.IsUnspecified() || address == at {
			ports[binary.BigEndian.Uint16(data[diagPortOffset:])] = true
		}
	}
	return false, nil
}
