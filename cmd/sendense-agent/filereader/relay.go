package filereader

import (
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// relay gives the confined processes access to one export, as a Unix socket, and to nothing else on the network. It copies bytes
// without parsing them. It returns the URL for libguestfs.
func relay(export *url.URL, path string) (string, error) {
	// Other processes of the same user can neither read nor change this process.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return "", os.NewSyscallError("prctl", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return "", err
	}
	go func() { // runs as long as the process
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go carry(c, export.Host)
		}
	}()
	return "nbd:///" + strings.TrimPrefix(export.Path, "/") + "?socket=" + path, nil
}

// carry copies between a connection and a new one to an address, until either ends.
func carry(c net.Conn, address string) {
	defer c.Close()
	far, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer far.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, far}, {far, c}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // qemu notices what is missing
			_ = way[0].(interface{ CloseWrite() error }).CloseWrite()
		})
	}
	both.Wait()
}
