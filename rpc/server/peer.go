package server

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A caller is the process at the other end, as the kernel knew it when it connected. Operator says that it may act, not only
// read: it is root, the agent's own user, or a member of the group that owns the socket.
type caller struct {
	UID, GID uint32
	PID      int32
	Operator bool
}

// LogValue shows the caller in a log line.
func (c caller) LogValue() slog.Value {
	return slog.GroupValue(slog.Uint64("uid", uint64(c.UID)), slog.Uint64("gid", uint64(c.GID)), slog.Int("pid", int(c.PID)))
}

func callerOf(nc *net.UnixConn) (caller, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return caller{}, err
	}
	var cred *unix.Ucred
	var groups []uint32
	var credErr, groupsErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		groups, groupsErr = peerGroups(int(fd))
	})
	switch {
	case err != nil:
		return caller{}, err
	case credErr != nil:
		return caller{}, fmt.Errorf("SO_PEERCRED: %w", credErr)
	case groupsErr != nil:
		return caller{}, fmt.Errorf("SO_PEERGROUPS: %w", groupsErr)
	}
	gid, hasGroup := socketGroup(nc.LocalAddr())
	return caller{
		UID: cred.Uid, GID: cred.Gid, PID: cred.Pid,
		Operator: isOperator(cred.Uid, append(groups, cred.Gid), gid, hasGroup),
	}, nil
}

func isOperator(uid uint32, groups []uint32, socketGID uint32, hasGroup bool) bool {
	return uid == 0 || int(uid) == os.Geteuid() || hasGroup && slices.Contains(groups, socketGID)
}

// socketGroup is the group that owns the socket's file now. It is read at every connection, because the group may be set after
// the listener was made. A socket without a file has no group.
func socketGroup(addr net.Addr) (gid uint32, ok bool) {
	info, err := os.Stat(addr.String())
	if err != nil {
		return 0, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&os.ModeSocket == 0 {
		return 0, false
	}
	return stat.Gid, true
}

// peerGroups returns the supplementary groups of the peer, which SO_PEERCRED does not tell (Linux 4.13).
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups)) * 4
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == unix.ERANGE && int(size/4) > len(groups): // size is now the size that is needed
			groups = make([]uint32, size/4)
		default:
			return nil, errno
		}
	}
}
