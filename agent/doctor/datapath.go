package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/doctor/trial"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// dataPath does to a repository all that a backup does, and removes it again. It shows that the daemon may start units, that the
// sandbox lets qemu-nbd work, and that written data reaches the disk.
func (h *host) dataPath(ctx context.Context, r config.Repository) []Finding {
	about := one("data-path", r.ID)
	switch {
	case h.bus == nil:
		return about.skip("not tried: systemd does not answer", "resolve the findings of bus")
	case h.accountErr != nil:
		return about.skip("not tried: there is no exporter user", "resolve the findings of exporter-user")
	case os.Geteuid() != 0 && h.config.Agent.Bus != config.BusUser:
		return about.skip("not tried: only root may start system units", "run as root")
	}
	trial.Sweep(ctx, h.bus, r)
	mode, _, _ := h.repo(r).Images(qemu.Secret{}).DetectIO(ctx) // the check before this one tells
	o := trial.Options{
		Config: h.config, Bus: h.bus, Owner: h.account.Owner, Repository: r, Mode: mode, Images: h.repo(r).Images(qemu.Secret{}),
	}
	if id := r.EncryptionKey; id != "" {
		path, _, _ := keySource(id) // the check before this one tells
		secret, err := repositories.ReadKey(path)
		if err != nil {
			return about.skip("not tried: "+err.Error(), "resolve the findings of encryption")
		}
		o.Images, o.Keys = h.repo(r).Images(secret), []repositories.ImageKey{{ID: id, File: path}}
	}
	t := trial.New(o)
	begin := time.Now()
	step, hint, err := t.Run(ctx)
	var start *units.StartError
	if errors.As(err, &start) && qemu.CannotRefuse(strings.Join(start.Journal, "\n")) {
		hint = export.RefusalHint
	}
	found := about.ok(fmt.Sprintf("an image was made, served in its sandbox (%s), %swritten, flushed, read back and checked in %s",
		mode, t.Refused(), time.Since(begin).Round(time.Millisecond)))
	if err != nil {
		found = about.error(step+": "+err.Error(), hint)
		if start != nil {
			found = with(found, "journal", strings.Join(start.Journal, "\n"))
		}
	}
	if err := t.Remove(ctx); err != nil {
		found = append(found, about.error("cannot remove the trial: "+err.Error(),
			fmt.Sprintf("systemctl stop %s.socket %s.service; rm -r %s", t.Name, t.Name, t.Dir))...)
	}
	return found
}
