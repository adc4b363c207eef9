package export

import (
	"slices"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/nbd/iomode"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units/pair"
)

// An Exporter describes a qemu-nbd that serves one image.
type Exporter struct {
	Unit, Description string // of the pair of units; Unit has no suffix
	Image, Export     string
	Address           string // where it listens
	IO                iomode.Mode
	RateLimit         int64                   // bytes per second; 0 = none
	Repository        string                  // hidden from qemu-nbd, except for the next two
	Directory         string                  // writable for qemu-nbd; "" = none
	Ancestors         []string                // readable for qemu-nbd
	Keys              []repositories.ImageKey // of the layers of the image, the newest first; empty if none is encrypted
	ReadOnly          bool
	RefuseZeroes      bool  // see qemu.ServerOptions
	SizeBytes         int64 // of the disk; 0 = unknown
}

// Spec returns the pair of units of an exporter. In the repository it sees only the directory of its backup and those of its ancestors.
func (e Exporter) Spec(cfg *config.Config) (pair.Spec, error) {
	keys, credentials := e.keys()
	argv, err := qemu.ServerOptions{
		Binary: cfg.NBD.QemuNBD, Image: e.Image, Export: e.Export, Description: e.Unit,
		IO: e.IO, Shared: cfg.NBD.Shared, RateLimit: e.RateLimit, ReadOnly: e.ReadOnly, Keys: keys,
		RefuseZeroes: e.RefuseZeroes, SizeBytes: e.SizeBytes,
	}.Args()
	if err != nil {
		return pair.Spec{}, err
	}
	spec := pair.Spec{
		Name:          e.Unit,
		Description:   e.Description,
		Argv:          argv,
		Environment:   qemu.ServerEnvironment(),
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

// keys returns where qemu-nbd finds the key of each layer, and which files systemd copies there, each once.
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
