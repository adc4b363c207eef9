package systemdtest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// listenNotify listens on the socket to which the machine's PID 1 reports (sd_notify(3)). It is in the
// scratch directory, which host and machine share.
func listenNotify(path string) (*net.UnixConn, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("notification socket: %w", err)
	}
	return conn, nil
}

// awaitReady waits until PID 1 reports the end of the boot and owns its name on the bus.
func awaitReady(conn *net.UnixConn, pid int, o Options) error {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for ready := false; !ready; {
		n, err := conn.Read(buf)
		if err != nil {
			return fmt.Errorf("its PID 1 did not report the end of the boot: %w", err)
		}
		for _, line := range bytes.Split(buf[:n], []byte("\n")) {
			ready = ready || string(line) == "READY=1"
		}
	}
	return awaitBus(fmt.Sprintf("/proc/%d/root/run/dbus/system_bus_socket", pid))
}

// awaitBus waits until systemd owns its name: it connects to the bus like any client, a little after the
// bus itself has started.
func awaitBus(socket string) error {
	var last error
	up := waitFor(patience, func() bool {
		last = nameOwned(socket, "org.freedesktop.systemd1")
		return last == nil
	})
	if !up {
		return fmt.Errorf("its system bus does not answer: %w", last)
	}
	return nil
}

func nameOwned(socket, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := os.Stat(socket); err != nil {
		return err
	}
	conn, err := dbus.Dial("unix:path="+strings.ReplaceAll(socket, ",", "%2c"), dbus.WithContext(ctx))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal("0")}); err != nil {
		return err
	}
	if err := conn.Hello(); err != nil {
		return err
	}
	return conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetNameOwner", 0, name).Err
}
