package settings

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/rpc"
)

// Places are where the settings of a hub are.
type Places struct {
	Config    string // path of the configuration
	Store     string // directory of credentials, as systemd reads it
	Encrypted string // directory of credentials that systemd has encrypted for this host
}

// Named lists the credentials that a configuration names, sorted.
func Named(cfg *config.Config) []Credential {
	byName := map[string]*Credential{}
	add := func(name, kind, by string) {
		if name == "" {
			return
		}
		if byName[name] == nil {
			byName[name] = &Credential{Name: name, Kind: kind}
		}
		byName[name].UsedBy = append(byName[name].UsedBy, by)
	}
	for name, v := range cfg.VCenters {
		add(v.PasswordCredential, VCenterPassword, "vcenter."+name)
	}
	for _, r := range cfg.Repositories {
		for _, id := range r.Keys() {
			add(id, EncryptionKey, "repository "+r.ID)
		}
	}
	add(cfg.HTTP.TokenFile, SecretFile, "http.token_file")
	add(cfg.Metrics.WebConfigFile, SecretFile, "metrics.web_config_file")
	list := []Credential{}
	for _, c := range byName {
		slices.Sort(c.UsedBy)
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b Credential) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Collect reads the settings of this hub, without secrets. The daemon may run.
func Collect(ctx context.Context, p Places, version string) (*File, error) {
	text, err := os.ReadFile(p.Config)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	cfg, err := config.Load(p.Config)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	vms, err := readVMs(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &File{
		Format: Format, Version: Version, ExportedAt: time.Now().UTC().Truncate(time.Second), AgentVersion: version, Host: host,
		Configuration: Configuration{Path: p.Config, Text: string(text)}, VMs: vms, Credentials: Named(cfg),
	}, nil
}

func databasePath(cfg *config.Config) string {
	return filepath.Join(cfg.Agent.StateDirectory, "agent.db")
}

// readVMs reads the records of VMs: from a copy of the database, or from the daemon if it has the database open. Without a database there
// are none.
func readVMs(ctx context.Context, cfg *config.Config) ([]rpc.VM, error) {
	dir, err := os.MkdirTemp("", "sendense-settings-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	copied := filepath.Join(dir, "agent.db")
	err = store.Copy(copied, databasePath(cfg))
	var locked *store.LockedError
	switch {
	case errors.As(err, &locked):
		return askVMs(ctx, cfg.Agent.Socket)
	case errors.Is(err, fs.ErrNotExist):
		return []rpc.VM{}, nil
	case err != nil:
		return nil, err
	}
	db, err := store.Open(copied, store.Options{MustExist: true})
	if err != nil {
		return nil, err
	}
	vms, err := storedVMs(db)
	return vms, errors.Join(err, db.Close())
}

func storedVMs(db *store.Store) ([]rpc.VM, error) {
	list := []rpc.VM{}
	for after := ""; ; {
		page, next, err := db.VMs(after, store.MaxPage)
		if err != nil {
			return nil, err
		}
		for _, vm := range page {
			list = append(list, wireOf(vm))
		}
		if after = next; next == "" {
			return list, nil
		}
	}
}

func askVMs(ctx context.Context, socket string) ([]rpc.VM, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := rpc.Dial(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("the daemon has the database open, and does not answer: %w", err)
	}
	defer c.Close()
	list := []rpc.VM{}
	for query := (rpc.VMQuery{Limit: 1000}); ; {
		page, err := c.ListVMs(ctx, query)
		if err != nil {
			return nil, err
		}
		list = append(list, page.VMs...)
		if query.Cursor = page.NextCursor; query.Cursor == "" {
			return list, nil
		}
	}
}

// ReadSecrets reads the contents of the credentials.
func ReadSecrets(ctx context.Context, p Places, list []Credential) (Secrets, error) {
	secrets := Secrets{}
	for _, c := range list {
		content, err := p.read(ctx, c)
		if err == nil && len(content) == 0 {
			err = errors.New("it is empty")
		}
		if err != nil {
			return nil, fmt.Errorf("%s %q cannot be read: %w: put it there, or take it out of the configuration (%s)",
				strings.ReplaceAll(c.Kind, "_", " "), c.Name, err, strings.Join(c.UsedBy, ", "))
		}
		secrets[c.Name] = content
	}
	return secrets, nil
}

// path is where a credential is, or belongs.
func (p Places) path(c Credential) string {
	if c.Kind == SecretFile {
		return c.Name
	}
	return filepath.Join(p.Store, c.Name)
}

func (p Places) read(ctx context.Context, c Credential) ([]byte, error) {
	content, err := os.ReadFile(p.path(c))
	if !errors.Is(err, fs.ErrNotExist) || c.Kind == SecretFile {
		return content, err
	}
	sealed := filepath.Join(p.Encrypted, c.Name)
	if _, missing := os.Stat(sealed); missing != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "systemd-creds", "decrypt", "--name="+c.Name, sealed, "-")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if content, err = cmd.Output(); err != nil {
		return nil, fmt.Errorf("systemd-creds decrypt %s: %w: %s", sealed, err, strings.TrimSpace(stderr.String()))
	}
	return content, nil
}
