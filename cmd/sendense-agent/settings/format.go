// Package settings is the file with what a new hub needs beside its repositories: the configuration, the records of VMs, and the names of
// keys and passwords; these themselves only encrypted. It reads and writes the file, and applies it to a hub. docs/settings.md describes
// the format. It is not a backup of the database: that is made again from the manifests.
package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/rpc"
)

// Format and Version are in every settings file. A new part of the file gets a new version: an older agent would lose it silently.
const (
	Format  = "sendense-agent-settings"
	Version = 1
)

// MaxBytes limits the size of a settings file.
const MaxBytes = 64 << 20

// A File is a settings file.
type File struct {
	Format        string        `json:"format"`
	Version       int           `json:"version"`
	ExportedAt    time.Time     `json:"exported_at"`
	AgentVersion  string        `json:"agent_version"`
	Host          string        `json:"host"`
	Configuration Configuration `json:"configuration"`
	VMs           []rpc.VM      `json:"vms"`
	Credentials   []Credential  `json:"credentials"`

	// Secrets is a Secrets, encrypted with age, in its armored form; "" if the secrets were not asked for.
	Secrets string `json:"secrets,omitempty"`
}

// A Configuration is the configuration file, word for word.
type Configuration struct {
	Path string `json:"path"` // where it was
	Text string `json:"text"`
}

// The kinds of credentials.
const (
	EncryptionKey   = "encryption_key"   // of repositories; in the credential store
	VCenterPassword = "vcenter_password" // in the credential store
	SecretFile      = "file"             // a file that the configuration names by its path
)

// A Credential is something secret that the configuration names.
type Credential struct {
	Name   string   `json:"name"` // of the file in the credential store; the path of a SecretFile
	Kind   string   `json:"kind"`
	UsedBy []string `json:"used_by"` // keys of the configuration
}

// Secrets are the contents of credentials, by their names.
type Secrets map[string][]byte

// Encode returns the text of the file.
func (f *File) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(f)
	return b.Bytes(), err
}

// Decode reads a settings file and checks everything in it but the secrets.
func Decode(text []byte) (*File, *config.Config, error) {
	if err := checkHeader(text); err != nil {
		return nil, nil, err
	}
	var f File
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, nil, fmt.Errorf("is damaged: %w: copy it again from where it is kept", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("is damaged: there is more after its end: copy it again from where it is kept")
	}
	cfg, err := config.Parse([]byte(f.Configuration.Text))
	if err != nil {
		return nil, nil, fmt.Errorf("its configuration is not valid here: %w", err)
	}
	return &f, cfg, errors.Join(f.checkVMs(), f.checkCredentials(cfg))
}

// checkHeader reads only what every version has.
func checkHeader(text []byte) error {
	var header struct {
		Format       string `json:"format"`
		Version      int    `json:"version"`
		AgentVersion string `json:"agent_version"`
	}
	err := json.Unmarshal(text, &header)
	var syntax *json.SyntaxError
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return errors.New("is empty")
	case errors.As(err, &syntax) && syntax.Offset >= int64(len(text)):
		return errors.New("is truncated: copy it again from where it is kept")
	case err != nil || header.Format != Format:
		return errors.New("is not a settings file: 'sendense-agent export-settings' makes one")
	case header.Version > Version:
		return fmt.Errorf("has version %d, from sendense-agent %s, and this sendense-agent reads versions up to %d: install that one or a newer one",
			header.Version, strconv.Quote(header.AgentVersion), Version)
	case header.Version < 1:
		return fmt.Errorf("is damaged: version %d: copy it again from where it is kept", header.Version)
	}
	return nil
}

func (f *File) checkVMs() error {
	seen := map[string]bool{}
	var errs []error
	for _, vm := range f.VMs {
		if err := recordOf(vm).Validate(); err != nil {
			errs = append(errs, err)
		}
		if seen[vm.VMName] {
			errs = append(errs, fmt.Errorf("vm %q is listed twice", vm.VMName))
		}
		seen[vm.VMName] = true
	}
	return errors.Join(errs...)
}

// credentialName is what the configuration accepts as the name of a credential; no path is.
var credentialName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._@-]{0,254}$`)

// checkCredentials refuses what the configuration does not name: no other file is ever written.
func (f *File) checkCredentials(cfg *config.Config) error {
	named, seen := map[string]string{}, map[string]bool{}
	for _, c := range Named(cfg) {
		named[c.Name] = c.Kind
	}
	var errs []error
	for _, c := range f.Credentials {
		switch {
		case named[c.Name] == "" || named[c.Name] != c.Kind:
			errs = append(errs, fmt.Errorf("credential %q (%s) is not one that its configuration names", c.Name, c.Kind))
		case c.Kind != SecretFile && !credentialName.MatchString(c.Name):
			errs = append(errs, fmt.Errorf("credential %q: want the name of a file, not a path", c.Name))
		case seen[c.Name]:
			errs = append(errs, fmt.Errorf("credential %q is listed twice", c.Name))
		}
		seen[c.Name] = true
	}
	return errors.Join(errs...)
}
