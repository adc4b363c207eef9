package export

import (
	"slices"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units/pair"
)

// An Exporter is a qemu-nbd that serves one image.
type Exporter struct {
	Unit, Description string // of the unit pair; Unit has no suffix
	Image, Export     string
	Address           string // where it listens
	IO                qemu.IOMode
	RateLimit         int64                   // bytes per second; 0 = none
	Repository        string                  // hidden from it, but for the following
	Directory         string                  // that it may write to; "": none
	Ancestors         []string                // that it may read
	Keys              []repositories.ImageKey // of the image and of each that it stands on, in this order; none if all are plain
	ReadOnly          bool
	RefuseZeroes      bool // see qemu.ServerOptions
}

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
		if k == (repositories.ImageKey{}) {
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
