package sockets

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// States of the kernel's TCP sockets (include/net/tcp_states.h).
const (
	tcpEstablished = 1
	tcpListen      = 10
)

// Established counts the TCP connections of this network namespace that are in
// state ESTABLISHED and have port as their local port: for an export's port,
// the clients that are still connected. A connection that the client has closed
// is not counted, even if the server has not noticed yet. The kernel cannot tell
// a client that disconnected from one that died.
func Established(port uint16) (int, error) {
	sockets, err := localSockets(port, tcpEstablished)
	return len(sockets), err
}

// Clients returns Established for every port that has clients. That costs no more than to ask for one port: in both cases the kernel
// searches its whole table of connections, which has room for half a million of them.
func Clients() (map[uint16]int, error) {
	sockets, err := localSockets(anyPort, tcpEstablished)
	if err != nil {
		return nil, err
	}
	clients := map[uint16]int{}
	for _, s := range sockets {
		clients[s.port]++
	}
	return clients, nil
}

// Listening reports whether a process listens on a TCP port, on any address.
func Listening(port uint16) (bool, error) {
	sockets, err := localSockets(port, tcpListen)
	return len(sockets) > 0, err
}

// Listener returns the process that listens on a TCP port, such as
// "nginx (pid 812)", for an error message; "unknown" if none listens or the
// process cannot be seen.
func Listener(port uint16) string {
	sockets, err := localSockets(port, tcpListen)
	if err != nil || len(sockets) == 0 {
		return "unknown"
	}
	links := make(map[string]bool)
	for _, s := range sockets {
		links[fmt.Sprintf("socket:[%d]", s.inode)] = true
	}
	descriptors, err := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	if err != nil {
		return "unknown"
	}
	// The listening socket of a socket unit is open in systemd and in the
	// service: the one that is not pid 1 is more useful.
	answer := "unknown"
	for _, descriptor := range descriptors {
		if link, err := os.Readlink(descriptor); err != nil || !links[link] {
			continue
		}
		pid := strings.Split(descriptor, "/")[2]
		comm, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		if err != nil {
			continue
		}
		name := strings.Trim(strconv.Quote(strings.TrimSpace(string(comm))), `"`) // a process can choose any name
		answer = fmt.Sprintf("%s (pid %s)", name, pid)
		if pid != "1" {
			return answer
		}
	}
	return answer
}

// socket is a TCP socket as the kernel reports it.
type socket struct {
	port    uint16 // the local one
	inode   uint32
	address netip.Addr // the local one; not set if it was read from /proc
}

// anyPort asks for the sockets on every port.
const anyPort = 0

// localSockets returns the TCP sockets on a local port in one state, over IPv4
// and IPv6. It asks over netlink, which returns only these; if a sandbox forbids
// that, it reads the text files of /proc.
func localSockets(port uint16, state uint8) ([]socket, error) {
	sockets, err := diagSockets(port, state)
	if err == nil {
		return sockets, nil
	}
	sockets, procErr := procSockets(port, state)
	switch {
	case procErr == nil:
		return sockets, nil
	case port == anyPort:
		return nil, fmt.Errorf("cannot list the sockets: %w", errors.Join(err, procErr))
	}
	return nil, fmt.Errorf("port %d: cannot list its sockets: %w", port, errors.Join(err, procErr))
}

func procSockets(port uint16, state uint8) ([]socket, error) {
	var sockets []socket
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		table, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(path, "6") {
			continue // no IPv6 in this kernel
		}
		if err != nil {
			return nil, err
		}
		found, err := parseProcNet(table, port, state)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		sockets = append(sockets, found...)
	}
	return sockets, nil
}

// parseProcNet reads lines such as (kernel's Documentation/networking/proc_net_tcp.rst)
//
//	sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode
//	0: 0100007F:2779 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 20911 ...
func parseProcNet(table []byte, port uint16, state uint8) ([]socket, error) {
	var sockets []socket
	lines := bufio.NewScanner(bytes.NewReader(table))
	lines.Scan() // heading
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			return nil, fmt.Errorf("line of %d fields", len(fields))
		}
		_, portHex, _ := strings.Cut(fields[1], ":")
		local, err := hex.DecodeString(portHex)
		if err != nil || len(local) != 2 {
			return nil, fmt.Errorf("local address %q", fields[1])
		}
		st, err := strconv.ParseUint(fields[3], 16, 8)
		if err != nil {
			return nil, fmt.Errorf("state %q", fields[3])
		}
		s := socket{port: binary.BigEndian.Uint16(local)}
		if port != anyPort && s.port != port || uint8(st) != state {
			continue
		}
		inode, err := strconv.ParseUint(fields[9], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("inode %q", fields[9])
		}
		s.inode = uint32(inode)
		sockets = append(sockets, s)
	}
	return sockets, lines.Err()
}
