package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
	"github.com/sendense/backup-agent/units/pair"
)

// A floor is systemd's own share: one connection to the bus that stays open starts the very units that the agent would start,
// as many at a time, and reads and checks nothing.
type floor struct {
	dir     string // a repository of its own
	config  *config.Config
	manager *units.Manager // for the properties, and to take the units away
	bus     *systemd.Conn
	serial  atomic.Int64
	without []string // properties of the service that are left out
}

const (
	floorPort   = 20000 // and up; outside of the agent's range
	floorPrefix = "bench-floor-"
	floorSlice  = "bench.slice"
	// inFlight is the agent's own bound: more gain nothing.
	inFlight = 16
)

func newFloor(ctx context.Context, dir string) (*floor, error) {
	f := &floor{dir: filepath.Join(dir, "floor"), config: config.Default()}
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if f.manager, err = units.Open(ctx, units.Options{Slice: floorSlice}); err != nil {
		return nil, err
	}
	if f.bus, err = systemd.NewSystemConnectionContext(ctx); err != nil {
		return nil, errors.Join(err, f.manager.Close())
	}
	return f, f.bus.Subscribe()
}

func (f *floor) close() error {
	f.bus.Close()
	return f.manager.Close()
}

// images makes n images that belong to the exporters' user, as the agent makes them, in a directory of their own.
func (f *floor) images(ctx context.Context, n int, size int64) ([]string, error) {
	dir := filepath.Join(f.dir, strconv.FormatInt(f.serial.Add(1), 10))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	images := make([]string, n)
	for i := range images {
		images[i] = filepath.Join(dir, fmt.Sprintf("disk%d.qcow2", i))
	}
	return images, makeImages(ctx, images, size, fullImage...)
}

// give makes a directory and what is in it the exporters' own.
func (f *floor) give(dir string) error {
	u, err := user.Lookup(f.config.Agent.ExporterUser)
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, uid, gid))
	})
}

// fullImage are the options of the agent's full images.
var fullImage = []string{"-o", "cluster_size=1M,extended_l2=on"}

// makeImages runs qemu-img for each, several at a time.
func makeImages(ctx context.Context, images []string, size int64, options ...string) error {
	var group errgroup.Group
	group.SetLimit(inFlight)
	for _, image := range images {
		group.Go(func() error {
			args := append([]string{"create", "-q", "-f", "qcow2"}, options...)
			return run(ctx, "qemu-img", append(args, image, strconv.FormatInt(size, 10))...)
		})
	}
	return group.Wait()
}

// specs are the pairs of units that serve the images.
func (f *floor) specs(images []string) ([]pair.Spec, error) {
	specs := make([]pair.Spec, len(images))
	for i, image := range images {
		name := fmt.Sprintf("%s%d-disk%d", floorPrefix, f.serial.Add(1), i)
		spec, err := export.Exporter{
			Unit: name, Image: image, Export: fmt.Sprintf("disk%d", i), Address: fmt.Sprintf("127.0.0.1:%d", floorPort+i),
			IO: qemu.IOMode{Cache: "none", AIO: "io_uring"}, Repository: f.dir, Directory: filepath.Dir(image),
		}.Spec(f.config)
		if err != nil {
			return nil, err
		}
		specs[i] = spec
	}
	return specs, nil
}

// start starts the pairs and returns when every job is done.
func (f *floor) start(ctx context.Context, specs []pair.Spec) error {
	var group errgroup.Group
	group.SetLimit(inFlight)
	for _, s := range specs {
		group.Go(func() error {
			service, socket := s.Properties(false, floorSlice)
			service = slices.DeleteFunc(service, func(p systemd.Property) bool { return slices.Contains(f.without, p.Name) })
			socket = slices.DeleteFunc(socket, func(p systemd.Property) bool { return slices.Contains(f.without, "socket:"+p.Name) })
			result := make(chan string, 1)
			aux := []systemd.PropertyCollection{{Name: s.Name + ".socket", Properties: socket}}
			if _, err := f.bus.StartTransientUnitAux(ctx, s.Name+".service", "fail", service, aux, result); err != nil {
				return err
			}
			if r := <-result; r != "done" {
				return fmt.Errorf("unit %s: job %s", s.Name, r)
			}
			return nil
		})
	}
	return group.Wait()
}

// startInTurn starts them one after another, each when the port of the one before can be dialled.
func (f *floor) startInTurn(ctx context.Context, specs []pair.Spec) error {
	for i := range specs {
		if err := f.start(ctx, specs[i:i+1]); err != nil {
			return err
		}
		if err := dialable(ctx, strconv.Itoa(floorPort+i)); err != nil {
			return err
		}
	}
	return nil
}

func (f *floor) remove(ctx context.Context, specs []pair.Spec) error {
	var group errgroup.Group
	group.SetLimit(inFlight)
	for _, s := range specs {
		group.Go(func() error { return f.manager.Remove(ctx, s.Name) })
	}
	return group.Wait()
}

// run runs a program to its end; what it wrote is in the error.
func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return nil
}
