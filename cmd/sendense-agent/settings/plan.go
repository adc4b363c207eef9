package settings

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/rpc"
)

// What an import does with one setting.
const (
	Create  = "create"
	Same    = "same"    // it is there already
	Replace = "replace" // another one is there
	Missing = "missing" // the file does not have it, and neither has this hub
)

// The kinds of settings beside credentials.
const (
	kindConfiguration = "configuration"
	kindVM            = "vm"
)

// A Step is what an import does with one setting.
type Step struct {
	Kind   string `json:"kind"` // "configuration", "vm", or the kind of a credential
	Name   string `json:"name"`
	Action string `json:"action"`
	Note   string `json:"note,omitempty"` // for a person
}

// A Plan is what an import would do. Nothing is changed before it is whole.
type Plan struct {
	Steps []Step

	places  Places
	file    *File
	config  *config.Config
	secrets Secrets
	vms     []rpc.VM // to put on record
}

// Conflicts counts the settings of this hub that would be replaced.
func (p *Plan) Conflicts() int { return p.count(Replace) }

// Changes counts the settings that would change.
func (p *Plan) Changes() int { return p.count(Create) + p.count(Replace) }

func (p *Plan) count(action string) (n int) {
	for _, s := range p.Steps {
		if s.Action == action {
			n++
		}
	}
	return n
}

func (p *Plan) add(kind, name, action, note string) {
	p.Steps = append(p.Steps, Step{kind, name, action, note})
}

// Compare makes the plan of an import. secrets may be nil. It changes nothing.
func Compare(ctx context.Context, at Places, f *File, cfg *config.Config, secrets Secrets) (*Plan, error) {
	p := &Plan{places: at, file: f, config: cfg, secrets: secrets}
	if err := p.compareConfiguration(); err != nil {
		return nil, err
	}
	for _, c := range f.Credentials {
		if err := p.compareCredential(ctx, c); err != nil {
			return nil, err
		}
	}
	present, err := readVMs(ctx, cfg)
	if err != nil {
		return nil, err
	}
	p.compareVMs(present)
	return p, nil
}

func (p *Plan) compareConfiguration() error {
	note := ""
	if was := p.file.Configuration.Path; was != p.places.Config {
		note = fmt.Sprintf("it was %q", was)
	}
	text, err := plainFile(p.places.Config)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.add(kindConfiguration, p.places.Config, Create, note)
	case err != nil:
		return err
	case bytes.Equal(text, []byte(p.file.Configuration.Text)):
		p.add(kindConfiguration, p.places.Config, Same, note)
	case setsNothing(text):
		p.add(kindConfiguration, p.places.Config, Create, "the present one sets nothing")
	default:
		p.add(kindConfiguration, p.places.Config, Replace, note)
	}
	return nil
}

// setsNothing says whether a configuration is as the package installs it.
func setsNothing(text []byte) bool {
	c, err := config.Parse(text)
	return err == nil && reflect.DeepEqual(c, config.Default())
}

// plainFile reads a file that an import may replace: no link and no directory.
func plainFile(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: move it away", path)
	}
	return os.ReadFile(path)
}

func (p *Plan) compareCredential(ctx context.Context, c Credential) error {
	path := p.places.path(c)
	present, err := plainFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		present, err = p.places.read(ctx, c)
	}
	absent := errors.Is(err, fs.ErrNotExist)
	if err != nil && !absent {
		return err
	}
	content, given := p.secrets[c.Name]
	switch {
	case !given && absent:
		p.add(c.Kind, c.Name, Missing, "put it into "+path+", readable only by root")
	case !given:
		p.add(c.Kind, c.Name, Same, "kept: the settings have no other")
	case absent:
		p.add(c.Kind, c.Name, Create, path)
	case bytes.Equal(present, content):
		p.add(c.Kind, c.Name, Same, "")
	default:
		if _, err := os.Lstat(filepath.Join(p.places.Encrypted, c.Name)); err == nil && c.Kind != SecretFile {
			return fmt.Errorf("%s holds another %q, and the daemon would use that one: move it away", p.places.Encrypted, c.Name)
		}
		p.add(c.Kind, c.Name, Replace, path)
	}
	return nil
}

func (p *Plan) compareVMs(present []rpc.VM) {
	known := map[string]rpc.VM{}
	for _, vm := range present {
		known[vm.VMName] = vm
	}
	for _, vm := range p.file.VMs {
		old, there := known[vm.VMName]
		vm = wireOf(recordOf(vm)) // no list of disks and an empty one are the same
		switch {
		case !there:
			p.add(kindVM, vm.VMName, Create, "")
		case reflect.DeepEqual(vm, old):
			p.add(kindVM, vm.VMName, Same, "")
			continue
		default:
			p.add(kindVM, vm.VMName, Replace, "")
		}
		p.vms = append(p.vms, vm)
	}
}
