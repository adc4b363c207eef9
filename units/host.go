package units

import (
	"context"
	"errors"
	"fmt"
	"strings"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// Version returns the version of the service manager, such as "252.39-1~deb12u1".
func (m *Manager) Version(ctx context.Context) (version string, err error) {
	err = m.retry(ctx, func(l *link) error {
		manager := l.socks[0].Object(managerName, managerPath)
		return manager.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, managerInterface, "Version").Store(&version)
	})
	return version, err
}

// UnitState is the state of any unit of the host, not only of a pair.
type UnitState struct {
	Load, Active, Sub string // systemd's LoadState, ActiveState and SubState; Load is "not-found" if the unit does not exist
}

// State returns the state of a unit; its name has its suffix.
func (m *Manager) State(ctx context.Context, unit string) (s UnitState, err error) {
	err = m.retry(ctx, func(l *link) error {
		got, err := l.GetUnitPropertiesContext(ctx, unit)
		if err != nil {
			return fmt.Errorf("unit %s: %w", unit, err)
		}
		s.Load, _ = got["LoadState"].(string)
		s.Active, _ = got["ActiveState"].(string)
		s.Sub, _ = got["SubState"].(string)
		return nil
	})
	return s, err
}

// Credentials returns the credentials of a service by name, each with the file it is read from, or "" if it has another source. Their
// contents are not read.
func (m *Manager) Credentials(ctx context.Context, service string) (sources map[string]string, err error) {
	sources = map[string]string{}
	err = m.retry(ctx, func(l *link) error {
		for _, property := range []string{"LoadCredential", "LoadCredentialEncrypted"} {
			got, err := l.GetUnitTypePropertyContext(ctx, service, "Service", property)
			if err != nil {
				return fmt.Errorf("unit %s: %s: %w", service, property, err)
			}
			if err := addSources(sources, got); err != nil {
				return fmt.Errorf("unit %s: %s: %w", service, property, err)
			}
		}
		return nil
	})
	return sources, err
}

// addSources reads the D-Bus type a(ss) of LoadCredential: names and files.
func addSources(sources map[string]string, p *systemd.Property) error {
	var list []struct{ Name, Path string }
	if err := dbus.Store([]any{p.Value.Value()}, &list); err != nil {
		return errors.Join(errors.New("unexpected type"), err)
	}
	for _, c := range list {
		if !strings.HasPrefix(c.Path, "/") {
			c.Path = "" // the name of a credential of systemd itself
		}
		sources[c.Name] = c.Path
	}
	return nil
}
