package setup

import (
	"context"
	"errors"
	"fmt"
	"strings"

	systemd "github.com/coreos/go-systemd/v22/dbus"
)

// The packaged units.
const (
	serviceUnit = "sendense-agent.service"
	socketUnit  = "sendense-agent.socket"
)

// withSystemd calls f with a connection to systemd.
func withSystemd(ctx context.Context, f func(*systemd.Conn) error) error {
	conn, err := systemd.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("connect to systemd: %w", err)
	}
	defer conn.Close()
	return f(conn)
}

// checkService makes sure that there is a packaged service to set up.
func checkService(ctx context.Context) error {
	return withSystemd(ctx, func(conn *systemd.Conn) error {
		state, err := unitProperty(ctx, conn, "LoadState")
		switch {
		case err != nil:
			return err
		case state == "masked":
			return fmt.Errorf("%s is masked: run systemctl unmask %[1]s", serviceUnit)
		case state != "loaded":
			return fmt.Errorf("%s: systemd has no such unit (%s): install the package first", serviceUnit, state)
		}
		return nil
	})
}

func unitProperty(ctx context.Context, conn *systemd.Conn, name string) (string, error) {
	p, err := conn.GetUnitPropertyContext(ctx, serviceUnit, name)
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", serviceUnit, name, err)
	}
	text, _ := p.Value.Value().(string)
	return text, nil
}

// reload lets systemd read the configuration: the package's generator runs, and gives the daemon what it needs.
func reload(ctx context.Context) error {
	return withSystemd(ctx, func(conn *systemd.Conn) error { return conn.ReloadContext(ctx) })
}

// restart restarts the daemon and returns when it is ready. One that does not start at boot will.
func restart(ctx context.Context) error {
	return withSystemd(ctx, func(conn *systemd.Conn) error {
		if state, err := unitProperty(ctx, conn, "UnitFileState"); err == nil && state == "disabled" {
			if _, _, err := conn.EnableUnitFilesContext(ctx, []string{serviceUnit, socketUnit}, false, false); err != nil {
				return fmt.Errorf("enable %s: %w", serviceUnit, err)
			}
		}
		done := make(chan string, 1)
		if _, err := conn.RestartUnitContext(ctx, serviceUnit, "replace", done); err != nil {
			return fmt.Errorf("restart %s: %w", serviceUnit, err)
		}
		select {
		case result := <-done:
			if result != "done" {
				return fmt.Errorf("restart %s: %s: its log is in journalctl -u %[1]s -n 30", serviceUnit, strings.TrimSpace(result))
			}
			return nil
		case <-ctx.Done():
			return errors.New("interrupted; systemd continues with the restart")
		}
	})
}
