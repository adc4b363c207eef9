package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// trialPrefix begins the names of what a trial makes: the unit pair and, behind a dot, the directory in the repository.
// The number of the process follows. The daemon's own begin otherwise, and it passes over hidden directories.
const trialPrefix = "sendense-doctor-"

// A trial is a backup of nothing: an image in the repository, served by the unit pair that a backup would start.
type trial struct {
	*host
	repository config.Repository
	name       string // of the unit pair
	dir, image string
	mode       qemu.IOMode
	tools      qemu.Tools
	keys       []repositories.ImageKey // where its backups are encrypted
}

// dataPath does everything to a repository that a backup does, and removes it again. It shows that units may be started,
// that the sandbox lets qemu-nbd do its work, and that what is written comes to the disk.
func (h *host) dataPath(ctx context.Context, r config.Repository) []Finding {
	about := one("data-path", r.ID)
	switch {
	case h.bus == nil:
		return about.skip("not tried: systemd cannot be spoken to", "mend what is said of the bus")
	case h.accountErr != nil:
		return about.skip("not tried: there is no exporter user", "mend what is said of exporter-user")
	case os.Geteuid() != 0 && h.config.Agent.Bus != config.BusUser:
		return about.skip("not tried: only root may start units of the system", "run as root")
	}
	h.sweep(ctx, r)
	var nonce [4]byte
	_, _ = rand.Read(nonce[:])
	name := fmt.Sprintf("%s%d-%s", trialPrefix, os.Getpid(), hex.EncodeToString(nonce[:]))
	dir := filepath.Join(r.Path, "."+name)
	mode, _, _ := qemu.DetectIO(r.Path) // the check before this one tells
	t := trial{
		host: h, repository: r, name: name, dir: dir, image: filepath.Join(dir, "trial.qcow2"), mode: mode,
		tools: repositories.ImageTools(h.config, h.credential),
	}
	if id := r.EncryptionKey; id != "" {
		path, _, _ := keySource(id) // the check before this one tells
		secret, err := repositories.ReadKey(path)
		if err != nil {
			return about.skip("not tried: "+err.Error(), "mend what is said of encryption")
		}
		t.tools, t.keys = t.tools.WithKey(secret), []repositories.ImageKey{{ID: id, File: path}}
	}
	begin := time.Now()
	step, hint, err := t.run(ctx)
	var start *units.StartError
	if errors.As(err, &start) && qemu.CannotRefuse(strings.Join(start.Journal, "\n")) {
		hint = export.RefusalHint
	}
	found := about.ok(fmt.Sprintf("an image was made, served in its sandbox (%s), %swritten, flushed, read back and checked in %s",
		mode, t.refused(), time.Since(begin).Round(time.Millisecond)))
	if err != nil {
		found = about.error(step+": "+err.Error(), hint)
		if start != nil {
			found = with(found, "journal", strings.Join(start.Journal, "\n"))
		}
	}
	if err := t.remove(ctx); err != nil {
		found = append(found, about.error("the trial cannot be removed: "+err.Error(),
			fmt.Sprintf("systemctl stop %s.socket %s.service; rm -r %s", name, name, dir))...)
	}
	return found
}

// run does the trial, and tells at which step it failed.
func (t trial) run(ctx context.Context) (step, hint string, err error) {
	for _, s := range []struct {
		what, hint string
		do         func(context.Context) error
	}{
		{"make a directory", "the repository must be writable by the daemon", t.makeDir},
		{"make an image", "the exporter user must be able to pass through every directory above the repository (chmod o+x), and qemu-img must work", t.makeImage},
		{"start the unit pair", "look at the unit's last lines, in the journal; polkit or a sandbox of the daemon may forbid it to start units", t.start},
		{"see zeroes refused", export.RefusalHint, t.refuse},
		{"write zeroes", "zeroes that are written must take no room, else every image takes as much as its disk has: install another qemu-utils", t.zeroes},
		{"write, flush and read back", "the exporter runs, and its disk refuses: look in the kernel's log for errors of the disk or the file system", t.use},
		{"end the exporter", "look at 'journalctl -u " + t.name + "'", t.end},
		{"check the image", "what was written is not what is there: look in the kernel's log for errors of the disk", t.check},
	} {
		if err := s.do(ctx); err != nil {
			return s.what, s.hint, err
		}
	}
	return "", "", nil
}

func (t trial) makeDir(context.Context) error {
	if err := os.Mkdir(t.dir, 0o700); err != nil || t.owner == nil {
		return err
	}
	return os.Lchown(t.dir, t.owner.UID, t.owner.GID)
}

func (t trial) makeImage(ctx context.Context) error {
	return makeTrialImage(ctx, t.tools, qemu.ImageSpec{
		Path: t.image, SizeBytes: trialBytes, ClusterBytes: qemu.FullClusterBytes, ExtendedL2: true,
	})
}

// start starts the unit pair, at another port when the first is taken by another process meanwhile.
func (t trial) start(ctx context.Context) error {
	for tries := 0; ; tries++ {
		address, err := t.freeAddress()
		if err != nil {
			return err
		}
		spec, err := export.Exporter{
			Unit: t.name, Description: "trial of sendense-agent doctor", Image: t.image, Export: trialExport, Address: address,
			IO: t.mode, RefuseZeroes: !t.config.SNA.AcceptWriteZeroes, Repository: t.repository.Path, Directory: t.dir, Keys: t.keys,
		}.Spec(t.config)
		if err != nil {
			return err
		}
		if _, err = t.bus.Start(ctx, spec); err == nil || !errors.Is(err, units.ErrAddressInUse) || tries == 5 {
			return err
		}
	}
}

// freeAddress finds a port that the kernel gives to anybody who asks, and that is none of the exports'.
func (t trial) freeAddress() (string, error) {
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort(t.config.NBD.Host, "0"))
		if err != nil {
			return "", err
		}
		address := l.Addr().(*net.TCPAddr)
		if err := l.Close(); err != nil {
			return "", err
		}
		if !t.portRange().Contains(uint16(address.Port)) {
			return address.String(), nil
		}
	}
	return "", errors.New("the kernel gives out no port but those of the exports: see net.ipv4.ip_local_port_range")
}

// dial connects to what is served.
func (t trial) dial(ctx context.Context) (*nbd.Conn, error) {
	u, err := t.bus.Get(ctx, t.name)
	if err != nil {
		return nil, err
	}
	c, err := nbd.Dial(ctx, u.ListenAddress, trialExport)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(checkTimeout)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// use is what a client does, and what the agent does after it.
func (t trial) use(ctx context.Context) error {
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

func (t trial) end(ctx context.Context) error {
	u, err := t.bus.Terminate(ctx, t.name)
	if err == nil && !u.Clean() {
		err = fmt.Errorf("it ended with result %s and status %d", u.Result, u.ExecMainStatus)
	}
	return err
}

func (t trial) check(ctx context.Context) error {
	_, err := t.tools.Check(ctx, t.image)
	return err
}

// remove takes away all that a trial may have made, also when ctx has ended.
func (t trial) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	return errors.Join(t.bus.Remove(ctx, t.name), removeDir(t.repository.Path, "."+t.name))
}

// removeDir removes a directory of a repository; the image user, to whom it belongs, can lead it nowhere else.
func removeDir(path, name string) error {
	root, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // it was only read
	return root.RemoveAll(name)
}

// sweep removes what a doctor left behind that was killed. What it cannot remove stays for the next one.
func (h *host) sweep(ctx context.Context, r config.Repository) {
	list, _ := h.bus.List(ctx, trialPrefix)
	for _, u := range list {
		if isStale(u.Name) {
			_ = h.bus.Remove(ctx, u.Name)
		}
	}
	entries, _ := os.ReadDir(r.Path)
	for _, e := range entries {
		name, ours := strings.CutPrefix(e.Name(), "."+trialPrefix)
		if ours && isStale(trialPrefix+name) {
			_ = removeDir(r.Path, e.Name())
		}
	}
}

// isStale says whether the process that a name was made by is gone.
func isStale(name string) bool {
	rest, ours := strings.CutPrefix(name, trialPrefix)
	pid, _, ok := strings.Cut(rest, "-")
	if n, err := strconv.Atoi(pid); !ours || !ok || err != nil || n <= 0 {
		return false
	}
	_, err := os.Stat("/proc/" + pid)
	return errors.Is(err, fs.ErrNotExist)
}
