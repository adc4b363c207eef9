package units

import (
	"context"
	"fmt"
	"testing"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/units/pair"
)

// The lower bound is the D-Bus call alone, which starts the same two units and reads and checks nothing.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("floor/%d", n), func(b *testing.B) { benchmarkStart(b, n, floor) })
		b.Run(fmt.Sprintf("units/%d", n), func(b *testing.B) {
			benchmarkStart(b, n, func(ctx context.Context, m *Manager, s pair.Spec) error {
				_, err := m.Start(ctx, s)
				return err
			})
		})
	}
}

func floor(ctx context.Context, m *Manager, s pair.Spec) error {
	result := make(chan string, 1)
	service, socket := s.Properties(false, testSlice)
	aux := []systemd.PropertyCollection{{Name: s.Name + pair.SocketSuffix, Properties: socket}}
	if _, err := m.link.StartTransientUnitAux(ctx, s.Name+pair.ServiceSuffix, "fail", service, aux, result); err != nil {
		return err
	}
	if r := <-result; r != jobDone {
		return fmt.Errorf("job %s", r)
	}
	return nil
}

func benchmarkStart(b *testing.B, n int, start func(context.Context, *Manager, pair.Spec) error) {
	m := open(b)
	specs := make([]pair.Spec, n)
	for i := range specs {
		specs[i] = qemuNBD(b, m, newImage(b, "1G"))
	}
	for b.Loop() {
		var group errgroup.Group
		for i, s := range specs {
			s.ListenAddress = fmt.Sprintf("127.0.0.1:%d", 10100+i)
			group.Go(func() error { return start(b.Context(), m, s) })
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		for _, s := range specs {
			if err := m.Remove(b.Context(), s.Name); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
	}
}

func BenchmarkRemove(b *testing.B) {
	m := open(b)
	s := shell(b, m, "exec sleep 1000")
	for b.Loop() {
		b.StopTimer()
		if _, err := m.Start(b.Context(), s); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := m.Remove(b.Context(), s.Name); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList100(b *testing.B) {
	m := open(b)
	for range 100 {
		s := shell(b, m, "exec sleep 1000")
		if _, err := m.Start(b.Context(), s); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if list, err := m.List(b.Context(), "test-"); err != nil || len(list) != 100 {
			b.Fatal(len(list), err)
		}
	}
}
