// Package trial does to a repository all that a backup does, and removes it again: an image, a unit pair that serves it in its
// sandbox, a client that writes and reads. It also serves an image without systemd, to try the features of a qemu-nbd. What it
// makes has names of its own, which the daemon ignores.
//
// It makes no findings: package doctor does, of the step that failed.
package trial

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/iomode"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// Prefix begins the names of what a trial makes: the unit pair and, after a dot, the directory in the repository. The number of
// the process follows. The daemon's own names begin differently, and the daemon ignores hidden directories.
const Prefix = "sendense-doctor-"

// stepTimeout limits a conversation with the exporter, and the removal.
const stepTimeout = 30 * time.Second

// Options say what is tried.
type Options struct {
	Config     *config.Config
	Bus        *units.Manager
	Owner      *repository.Owner // of the directory; nil: the agent's user
	Repository config.Repository
	Mode       iomode.Mode
	Images     storage.Images
	Keys       []repositories.ImageKey // where its backups are encrypted
}

// A Trial is a backup of nothing: an image in the repository, served by the unit pair that a backup would start.
type Trial struct {
	Options
	Name       string // of the unit pair
	Dir, Image string
}

// New prepares a trial. It makes nothing yet.
func New(o Options) Trial {
	var nonce [4]byte
	_, _ = rand.Read(nonce[:])
	name := fmt.Sprintf("%s%d-%s", Prefix, os.Getpid(), hex.EncodeToString(nonce[:]))
	dir := filepath.Join(o.Repository.Path, "."+name)
	return Trial{Options: o, Name: name, Dir: dir, Image: filepath.Join(dir, "trial.qcow2")}
}

// Run does the trial. If it fails, it returns the step.
func (t Trial) Run(ctx context.Context) (step, hint string, err error) {
	for _, s := range []struct {
		what, hint string
		do         func(context.Context) error
	}{
		{"make a directory", "the repository must be writable by the daemon", t.makeDir},
		{"make an image", "the exporter user must have access to every directory above the repository (chmod o+x), and qemu-img must work", t.makeImage},
		{"start the unit pair", "look at the last lines of the unit in the journal; polkit or a sandbox of the daemon may not allow it to start units", t.start},
		{"see zeroes refused", export.RefusalHint, t.refuse},
		{"write zeroes", "written zeroes must take no space, otherwise every image is as large as its disk: install another qemu-utils", t.zeroes},
		{"write, flush and read back", "the exporter runs, but its disk fails: look in the kernel's log for errors of the disk or the file system", t.use},
		{"end the exporter", "look at 'journalctl -u " + t.Name + "'", t.end},
		{"check the image", "the image is not what was written: look in the kernel's log for errors of the disk", t.check},
	} {
		if err := s.do(ctx); err != nil {
			return s.what, s.hint, err
		}
	}
	return "", "", nil
}

func (t Trial) makeDir(context.Context) error {
	if err := os.Mkdir(t.Dir, 0o700); err != nil || t.Owner == nil {
		return err
	}
	return os.Lchown(t.Dir, t.Owner.UID, t.Owner.GID)
}

func (t Trial) makeImage(ctx context.Context) error {
	return MakeImage(ctx, t.Images, qemu.ImageSpec{
		Path: t.Image, SizeBytes: Bytes, ClusterBytes: qemu.FullClusterBytes, ExtendedL2: true,
	})
}

// start starts the unit pair. If another process takes the port meanwhile, it tries another port.
func (t Trial) start(ctx context.Context) error {
	for tries := 0; ; tries++ {
		address, err := t.freeAddress()
		if err != nil {
			return err
		}
		spec, err := export.Exporter{
			Unit: t.Name, Description: "trial of sendense-agent doctor", Image: t.Image, Export: Export, Address: address,
			IO: t.Mode, RefuseZeroes: !t.Config.SNA.AcceptWriteZeroes, Repository: t.Repository.Path, Directory: t.Dir, Keys: t.Keys,
		}.Spec(t.Config)
		if err != nil {
			return err
		}
		if _, err = t.Bus.Start(ctx, spec); err == nil || !errors.Is(err, units.ErrAddressInUse) || tries == 5 {
			return err
		}
	}
}

// freeAddress asks the kernel for a port outside of the range of the exports.
func (t Trial) freeAddress() (string, error) {
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort(t.Config.NBD.Host, "0"))
		if err != nil {
			return "", err
		}
		address := l.Addr().(*net.TCPAddr)
		if err := l.Close(); err != nil {
			return "", err
		}
		if !(nbd.PortRange{First: t.Config.NBD.FirstPort, Last: t.Config.NBD.LastPort}).Contains(uint16(address.Port)) {
			return address.String(), nil
		}
	}
	return "", errors.New("the kernel gives only ports of the exports: see net.ipv4.ip_local_port_range")
}

// dial connects to the export.
func (t Trial) dial(ctx context.Context) (*nbd.Conn, error) {
	u, err := t.Bus.Get(ctx, t.Name)
	if err != nil {
		return nil, err
	}
	c, err := nbd.Dial(ctx, u.ListenAddress, Export)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(stepTimeout)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// use does what a client does, and what the agent does after it.
func (t Trial) use(ctx context.Context) error {
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // Disconnect has closed it, or it is broken
	want, got := make([]byte, 1<<20), make([]byte, 1<<20)
	_, _ = rand.Read(want)
	if _, err := c.WriteAt(want, 1<<20); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}
	if _, err := c.ReadAt(got, 1<<20); err != nil {
		return err
	}
	if !bytes.Equal(want, got) {
		return errors.New("what was read is not what was written")
	}
	return c.Disconnect()
}

func (t Trial) end(ctx context.Context) error {
	u, err := t.Bus.Terminate(ctx, t.Name)
	if err == nil && !u.Clean() {
		err = fmt.Errorf("it ended with result %s and status %d", u.Result, u.ExecMainStatus)
	}
	return err
}

func (t Trial) check(ctx context.Context) error {
	_, err := t.Images.Check(ctx, t.Image)
	return err
}

// Remove removes all that a trial may have made, even if ctx has ended.
func (t Trial) Remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
	defer cancel()
	return errors.Join(t.Bus.Remove(ctx, t.Name), removeDir(t.Repository.Path, "."+t.Name))
}
