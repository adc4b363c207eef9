package repository

import (
	"io/fs"
	"syscall"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/rooted"
)

// Share lets the exporters' group read a restore point, as Publish did. It changes something only if the number of that group has
// changed since: the agent was installed again, or the repository comes from another host.
func (r *Repository) Share(vm string, m manifest.Manifest) error {
	if r.owner == nil {
		return nil
	}
	root, err := r.open()
	if err != nil {
		return r.fail(err)
	}
	defer root.Close()
	p, err := r.enter(root, vm, m.BackupID)
	if err != nil {
		return r.fail(err)
	}
	defer p.close()
	info, err := p.dir.Lstat(".")
	if err != nil || groupOf(info) == r.owner.GID {
		return r.fail(err)
	}
	for _, d := range m.Disks {
		if err := r.owner.shareImage(p, d.File); err != nil {
			return r.fail(err)
		}
	}
	// Last, because it says whether the rest is done.
	failpoint.Reach("share: before the directory")
	err = rooted.Chown(p.dir, -1, r.owner.GID)
	failpoint.Reach("share: directory shared")
	return r.fail(err)
}

func (o *Owner) shareImage(p *place, name string) error {
	f, err := rooted.OpenRegular(p.dir, name)
	if err != nil {
		return err
	}
	defer f.Close()
	failpoint.Reach("share: before an image")
	err = f.Chown(-1, o.GID)
	failpoint.Reach("share: image shared")
	return err
}

// groupOf is the group that a file belongs to.
func groupOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Gid) }
