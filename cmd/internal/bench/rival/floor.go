package rival

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/cmd/internal/bench/host"
	"github.com/sendense/backup-agent/nbd/iomode"
	"github.com/sendense/backup-agent/units"
	"github.com/sendense/backup-agent/units/pair"
)

// A Floor measures systemd's own share: one open connection to the bus starts the same units as the agent, as many at a time, and reads
// and checks nothing.
type Floor struct {
	dir     string // a repository of its own
	config  *config.Config
	manager *units.Manager // removes the units
	bus     *systemd.Conn
	serial  atomic.Int64
	Without []string // properties of the service that are left out
}

const (
	floorPort   = 20000 // and up; outside of the agent's range
	FloorPrefix = "bench-floor-"
	floorSlice  = "bench.slice"
	// inFlight is the agent's own limit: a higher one is not faster.
	inFlight = 16
)

// NewFloor connects to the bus. Its images lie below dir.
func NewFloor(ctx context.Context, dir string) (*Floor, error) {
	f := &Floor{dir: filepath.Join(dir, "floor"), config: config.Default()}
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

// Close closes both connections.
func (f *Floor) Close() error {
	f.bus.Close()
	return f.manager.Close()
}

// images makes n images that belong to the exporters' user, as the agent makes them, in a directory of their own.
func (f *Floor) images(ctx context.Context, n int, size int64) ([]string, error) {
	dir := filepath.Join(f.dir, strconv.FormatInt(f.serial.Add(1), 10))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	images := make([]string, n)
	for i := range images {
		images[i] = filepath.Join(dir, fmt.Sprintf("disk%d.qcow2", i))
	}
	return images, MakeImages(ctx, images, size, FullImage...)
}

// give gives a directory with its contents to the exporters' user.
func (f *Floor) give(dir string) error {
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

// FullImage are the options of the agent's full images.
var FullImage = []string{"-o", "cluster_size=1M,extended_l2=on"}

// MakeImages runs qemu-img for each, several at a time.
func MakeImages(ctx context.Context, images []string, size int64, options ...string) error {
	var group errgroup.Group
	group.SetLimit(inFlight)
	for _, image := range images {
		group.Go(func() error {
			args := append([]string{"create", "-q", "-f", "qcow2"}, options...)
			return host.Run(ctx, "qemu-img", append(args, image, strconv.FormatInt(size, 10))...)
		})
	}
	return group.Wait()
}

// specs are the pairs of units that serve the images.
func (f *Floor) specs(images []string) ([]pair.Spec, error) {
	specs := make([]pair.Spec, len(images))
	for i, image := range images {
		name := fmt.Sprintf("%s%d-disk%d", FloorPrefix, f.serial.Add(1), i)
		spec, err := export.Exporter{
			Unit: name, Image: image, Export: fmt.Sprintf("disk%d", i), Address: fmt.Sprintf("127.0.0.1:%d", floorPort+i),
			IO: iomode.Mode{Cache: "none", AIO: "io_uring"}, Repository: f.dir, Directory: filepath.Dir(image),
		}.Spec(f.config)
		if err != nil {
			return nil, err
		}
		specs[i] = spec
	}
	return specs, nil
}

// Start starts the pairs and returns when every job is done.
func (f *Floor) Start(ctx context.Context, specs []pair.Spec) error {
	var group errgroup.Group
	group.SetLimit(inFlight)
	for _, s := range specs {
		group.Go(func() error {
			service, socket := s.Properties(false, floorSlice)
			service = slices.DeleteFunc(service, func(p systemd.Property) bool { return slices.Contains(f.Without, p.Name) })
			socket = slices.DeleteFunc(socket, func(p systemd.Property) bool { return slices.Contains(f.Without, "socket:"+p.Name) })
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

// StartInTurn starts them one after another, each when the port of the one before accepts connections.
func (f *Floor) StartInTurn(ctx context.Context, specs []pair.Spec) error {
	for i := range specs {
		if err := f.Start(ctx, specs[i:i+1]); err != nil {
			return err
		}
		if err := host.Dialable(ctx, strconv.Itoa(floorPort+i)); err != nil {
			return err
		}
	}
	return nil
}

func (f *Floor) remove(ctx context.Context, specs []pair.Spec) error {
	var group errgroup.Group
	group.SetLimit(inFlight)
	for _, s := range specs {
		group.Go(func() error { return f.manager.Remove(ctx, s.Name) })
	}
	return group.Wait()
}
