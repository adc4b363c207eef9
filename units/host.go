package units

import (
	"context"
	"errors"
	"fmt"
	"strings"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// Version is the version of the service manager, such as "252.39-1~deb12u1".
func (m *Manager) Version(ctx context.Context) (version string, err error) {
	err = m.retry(ctx, func(l *link) error {
		text, err := l.GetManagerProperty("Version") // in the text form of D-Bus, with quotes
		version = strings.Trim(text, `"`)
		return err
	})
	return version, err
}

// UnitState is how any unit of the host is, not only one of a pair.
type UnitState struct {
	Load, Active, Sub string // systemd's LoadState, ActiveState and SubState; Load is "not-found" for one that is not there
}

// State tells how a unit is; its name has its suffix.
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

// Credentials tells which credentials a service is given, by name, with the file that each comes from; "" where it comes
// from elsewhere. Their contents are not read.
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
		return errors.Join(errors.New("is not of the type that was expected"), err)
	}
	for _, c := range list {
		if !strings.HasPrefix(c.Path, "/") {
			c.Path = "" // the name of a credential of systemd's own
		}
		sources[c.Name] = c.Path
	}
	return nil
}
