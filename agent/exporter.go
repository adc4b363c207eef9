package agent

import (
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units/pair"
)

// An Exporter is a qemu-nbd that serves one image.
type Exporter struct {
	Unit, Description string // of the unit pair; Unit has no suffix
	Image, Export     string
	Address           string // where it listens
	IO                qemu.IOMode
	RateLimit         int64      // bytes per second; 0 = none
	Repository        string     // hidden from it, but for the following
	Directory         string     // that it may write to; "": none
	Ancestors         []string   // that it may read
	Keys              []ImageKey // of the image and of each that it stands on, in this order; none if all are plain
	ReadOnly          bool
	RefuseZeroes      bool // see nbd.ServerOptions
}

// An ImageKey is the key of one image; the zero value is for one that is plain.
type ImageKey struct{ ID, File string }

// Spec is the unit pair of an exporter, seeing of the repository nothing but the directory of its backup and what that
// stands on.
func (e Exporter) Spec(cfg *config.Config) (pair.Spec, error) {
	keys, credentials := e.keys()
	argv, err := qemu.ServerOptions{
		Binary: cfg.NBD.QemuNBD, Image: e.Image, Export: e.Export, Description: e.Unit,
		IO: e.IO, Shared: cfg.NBD.Shared, RateLimit: e.RateLimit, ReadOnly: e.ReadOnly, Keys: keys,
		RefuseZeroes: e.RefuseZeroes,
	}.Args()
	if err != nil {
		return pair.Spec{}, err
	}
	spec := pair.Spec{
		Name:          e.Unit,
		Description:   e.Description,
		Argv:          argv,
		ListenAddress: e.Address,
		User:          cfg.Agent.ExporterUser,
		Group:         cfg.Agent.ExporterGroup,
		HiddenDirs:    []string{e.Repository},
		ReadOnlyDirs:  e.Ancestors,
		Credentials:   credentials,
		StartTimeout:  cfg.NBD.StartTimeout.Std(),
		StopTimeout:   cfg.NBD.StopTimeout.Std(),
	}
	if e.Directory != "" {
		spec.WritableDirs = []string{e.Directory}
	}
	return spec, nil
}

// keys says where qemu-nbd finds the key of each image, and which files systemd copies there: each once.
func (e Exporter) keys() (keys []qemu.KeyFile, credentials []pair.Credential) {
	for i, k := range e.Keys {
		if k == (ImageKey{}) {
			keys = append(keys, qemu.KeyFile{})
			continue
		}
		keys = append(keys, qemu.KeyFile{ID: k.ID, Path: pair.CredentialPath(e.Unit, k.ID)})
		if !slices.Contains(e.Keys[:i], k) {
			credentials = append(credentials, pair.Credential{ID: k.ID, Source: k.File})
		}
	}
	return keys, credentials
}

// ImageTools run qemu-img as the exporters' user. Below a repository they follow no symbolic link.
func ImageTools(cfg *config.Config, account *syscall.Credential) qemu.Tools {
	tools := qemu.Tools{QemuImg: cfg.NBD.QemuImg, Credential: account}
	for _, r := range cfg.Repositories {
		tools.Roots = append(tools.Roots, r.Path)
	}
	return tools
}

// ExporterAccount is the user whom everything runs as that touches image data: for processes and files, and for
// directories. Both are nil when it is the agent's own.
func ExporterAccount(cfg *config.Config) (*syscall.Credential, *repository.Owner, error) {
	e, err := lookupExporter(cfg.Agent.ExporterUser, cfg.Agent.ExporterGroup)
	return e.credential(), e.owner(), err
}

// exporterUser is whom everything runs as that touches image data. The zero value is the agent's own user.
type exporterUser struct {
	user, group string
	uid, gid    int
}

func lookupExporter(userName, groupName string) (exporterUser, error) {
	if userName == "" {
		return exporterUser{}, nil
	}
	u, err := user.Lookup(userName)
	if err != nil {
		return exporterUser{}, fmt.Errorf("agent.exporter_user %q: %w: create it (systemd-sysusers) or set another user", userName, err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if groupName != "" {
		g, err := user.LookupGroup(groupName)
		if err != nil {
			return exporterUser{}, fmt.Errorf("agent.exporter_group %q: %w: create it (systemd-sysusers) or set another group", groupName, err)
		}
		gid, _ = strconv.Atoi(g.Gid)
	}
	return exporterUser{user: userName, group: groupName, uid: uid, gid: gid}, nil
}

func (e exporterUser) credential() *syscall.Credential {
	if e.user == "" {
		return nil
	}
	return &syscall.Credential{Uid: uint32(e.uid), Gid: uint32(e.gid)}
}

func (e exporterUser) owner() *repository.Owner {
	if e.user == "" {
		return nil
	}
	return &repository.Owner{UID: e.uid, GID: e.gid}
}
