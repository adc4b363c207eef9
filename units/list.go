package units

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/units/pair"
)

// List returns the pairs whose name begins with prefix, sorted by name, also those of which only one
// half is loaded.
func (m *Manager) List(ctx context.Context, prefix string) ([]Unit, error) {
	if err := pair.CheckName(prefix); err != nil {
		return nil, err
	}
	var list []Unit
	err := m.retry(ctx, func(l *link) (err error) {
		list, err = l.list(ctx, prefix, false)
		return err
	})
	return list, err
}

// ListBrief is List for a caller that only compares pairs with what it knows. For a running service it reads name, states,
// InvocationID, MainPID and Slice, at a tenth of the cost. Other pairs are read completely.
func (m *Manager) ListBrief(ctx context.Context, prefix string) (list []Unit, err error) {
	if err := pair.CheckName(prefix); err != nil {
		return nil, err
	}
	err = m.retry(ctx, func(l *link) (err error) {
		list, err = l.list(ctx, prefix, true)
		return err
	})
	return list, err
}

// halves are the entries of a list for the two halves of a pair; one that is not loaded has no name.
type halves struct{ service, socket systemd.UnitStatus }

func (l *link) list(ctx context.Context, prefix string, brief bool) ([]Unit, error) {
	// The characters of a name have no meaning in a glob pattern (pair.CheckName).
	loaded, err := l.match(ctx, prefix+"*"+pair.ServiceSuffix, prefix+"*"+pair.SocketSuffix)
	if err != nil {
		return nil, fmt.Errorf("list units %s*: %w", prefix, err)
	}
	found := map[string]halves{}
	for _, status := range loaded {
		h := found[pairName(status.Name)]
		if strings.HasSuffix(status.Name, pair.ServiceSuffix) {
			h.service = status
		} else {
			h.socket = status
		}
		found[pairName(status.Name)] = h
	}
	names := slices.Sorted(maps.Keys(found))
	list := make([]Unit, len(names))
	var group errgroup.Group
	group.SetLimit(8) // parallel calls hide the round trips of the bus
	for i, name := range names {
		group.Go(func() (err error) {
			list[i], err = l.readListed(ctx, name, found[name], brief)
			if errors.Is(err, ErrNotFound) { // removed meanwhile
				list[i], err = Unit{}, nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(u Unit) bool { return u.Name == "" }), nil
}

// readListed reads one pair of a list. If brief is set and the service runs, it reads only what identifies the run.
func (l *link) readListed(ctx context.Context, name string, h halves, brief bool) (Unit, error) {
	if !brief || h.service.SubState != "running" {
		return l.read(ctx, name, h.service.Name != "", h.socket.Name != "")
	}
	var slice any
	var u Unit
	var group errgroup.Group
	group.Go(func() (err error) {
		slice, err = l.property(ctx, name+pair.ServiceSuffix, "Service", "Slice")
		return err
	})
	group.Go(func() (err error) {
		u, err = l.readRun(ctx, name)
		return err
	})
	if err := group.Wait(); err != nil || u.ActiveState != "" { // it ended meanwhile, and was read completely
		return u, err
	}
	u.ActiveState, u.SubState, u.SocketState, u.Slice = h.service.ActiveState, h.service.SubState, h.socket.ActiveState, text(slice)
	return u, nil
}

// match lists the loaded units that match any of the patterns.
func (l *link) match(ctx context.Context, patterns ...string) (list []systemd.UnitStatus, err error) {
	err = l.call(ctx, func() (err error) {
		list, err = l.ListUnitsByPatternsContext(ctx, nil, patterns)
		return err
	})
	return slices.DeleteFunc(list, func(u systemd.UnitStatus) bool { return !isLoaded(u.LoadState) }), err
}
