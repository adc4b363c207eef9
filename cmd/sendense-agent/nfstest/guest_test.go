package nfstest_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The network that QEMU emulates for the machine. The server's loopback addresses are behind serverAddress.
const (
	guestAddress  = "10.0.2.15"
	serverAddress = "10.0.2.2"
)

var versions = []string{"3", "4.1"}

// A guest is the machine, seen from inside, with one version of NFS.
type guest struct {
	version string
	answers *bufio.Reader
}

// runGuest is all that the machine does.
func runGuest() {
	if err := prepareGuest(); err != nil {
		fmt.Println(say+"fail the machine:", err)
	} else {
		answers := bufio.NewReader(os.Stdin)
		for _, v := range versions {
			runParts(&guest{version: v, answers: answers})
		}
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

func runParts(g *guest) {
	for i, p := range parts {
		name := g.version + ": " + p.name
		if err := p.run(g, fmt.Sprintf("part%d-%s", i, g.version)); err != nil {
			fmt.Printf("%sfail %s: %v\n", say, name, err)
			continue
		}
		fmt.Println(say + "pass " + name)
	}
}

// prepareGuest loads the modules and sets up the network.
func prepareGuest() error {
	if err := unix.Mount("dev", "/dev", "devtmpfs", 0, ""); err != nil {
		return err
	}
	list, err := filepath.Glob("/modules/*") // sorted
	if err != nil {
		return err
	}
	for _, path := range list {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(unix.FinitModule(int(f.Fd()), "", 0), f.Close()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return errors.Join(configure(fd, "lo", [4]byte{127, 0, 0, 1}, [4]byte{255, 0, 0, 0}),
		configure(fd, "eth0", [4]byte{10, 0, 2, 15}, [4]byte{255, 255, 255, 0}))
}

// configure gives a network device its address and switches it on.
func configure(fd int, device string, address, mask [4]byte) error {
	for _, set := range []struct {
		request uintptr
		fill    func(r *unix.Ifreq) error
	}{
		{unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address[:]) }},
		{unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask[:]) }},
		{unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		r, err := unix.NewIfreq(device)
		if err != nil {
			return err
		}
		if err := set.fill(r); err != nil {
			return err
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), set.request, uintptr(unsafe.Pointer(r))); errno != 0 {
			return fmt.Errorf("%s: %w", device, errno)
		}
	}
	return nil
}

// mount mounts an export with options, and returns what unmounts it.
func (g *guest) mount(export, at, options string) (unmount func() error, err error) {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return nil, err
	}
	kind := "nfs4"
	data := fmt.Sprintf("vers=%s,addr=%s,port=%d,clientaddr=%s,proto=tcp,%s", g.version, serverAddress, nfsPort, guestAddress, options)
	if g.version == "3" {
		kind = "nfs"
		data = fmt.Sprintf("vers=3,addr=%[1]s,port=%[2]d,mountaddr=%[1]s,mountport=%[3]d,proto=tcp,mountproto=tcp,nolock,%[4]s", serverAddress, nfsPort, mountPort, options)
	}
	if err := unix.Mount(serverAddress+":/"+export, at, kind, 0, data); err != nil {
		return nil, fmt.Errorf("mount of /%s with %s: %w", export, data, err)
	}
	return func() error { return unix.Unmount(at, unix.MNT_DETACH) }, nil
}

// ask has the host do something, and waits until it is done.
func (g *guest) ask(request string) error {
	fmt.Println(say + "host " + request)
	_, err := g.answers.ReadString('\n')
	return err
}
