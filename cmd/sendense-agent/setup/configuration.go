package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/cmd/sendense-agent/setup/tomledit"
)

// A configuration is the file as it is.
type configuration struct {
	path   string // without symbolic links
	exists bool
	text   []byte
	config *config.Config
}

// readConfiguration reads the file. One that does not exist starts as the one of the package.
func readConfiguration(path string) (*configuration, error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	c := &configuration{path: path, exists: true}
	var err error
	c.text, err = os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		c.text, c.exists, err = []byte(config.Example()), false, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if c.config, err = config.Parse(c.text); err != nil {
		return nil, fmt.Errorf("%s has errors. Correct them, then run the setup again:\n%w", path, err)
	}
	return c, nil
}

// with returns the text of the file with the answers in it, and the configuration that it then is. Everything else stays.
func (c *configuration) with(a Answers) ([]byte, *config.Config, error) {
	text, err := c.edited(a)
	if err != nil {
		return nil, nil, byHand(c.path, err)
	}
	parsed, err := config.Parse(text)
	if syntax := new(config.SyntaxError); errors.As(err, &syntax) {
		return nil, nil, byHand(c.path, err)
	}
	if err != nil {
		return nil, nil, err
	}
	want, err := config.Parse(c.text)
	if err != nil {
		return nil, nil, err
	}
	a.apply(want)
	byID := func(x, y config.Repository) int { return strings.Compare(x.ID, y.ID) }
	slices.SortFunc(want.Repositories, byID)
	got := *parsed
	got.Repositories = slices.SortedFunc(slices.Values(parsed.Repositories), byID)
	if differ, err := config.Changed(want, &got); err != nil || len(differ) > 0 {
		return nil, nil, byHand(c.path, errors.Join(err, fmt.Errorf("keys that would get a wrong value: %s", strings.Join(differ, ", "))))
	}
	return text, parsed, nil
}

func byHand(path string, err error) error {
	return fmt.Errorf("%s is written in a way that the setup cannot change: %w. Change it by hand: see \"Configure\" in docs/operations.md", path, err)
}

func (c *configuration) edited(a Answers) ([]byte, error) {
	text := c.text
	set := func(t tomledit.Table, values ...tomledit.Value) (err error) {
		text, err = tomledit.Set(text, t, values...)
		return err
	}
	var err error
	if a.defaultRepository(c.config) != c.config.DefaultRepository {
		err = set(tomledit.Table{}, tomledit.Value{Key: "default_repository", To: a.RepositoryID})
	}
	if a.SNA != c.config.SNA.URL {
		err = errors.Join(err, set(tomledit.Table{Path: []string{"sna"}}, tomledit.Value{Key: "url", To: a.SNA}))
	}
	if !c.config.HTTP.Enabled {
		err = errors.Join(err, set(tomledit.Table{Path: []string{"http"}}, tomledit.Value{Key: "enabled", To: true}))
	}
	return text, errors.Join(err,
		set(tomledit.Table{Path: []string{"repository"}, ID: a.RepositoryID},
			tomledit.Value{Key: "id", To: a.RepositoryID}, tomledit.Value{Key: "path", To: a.RepositoryPath}),
		set(tomledit.Table{Path: []string{"vcenter", a.VCenter}}, tomledit.Value{Key: "host", To: a.Host}, tomledit.Value{Key: "user", To: a.User},
			tomledit.Value{Key: "password_credential", To: credentialOf(c.config, a.VCenter)}, tomledit.Value{Key: "datacenter", To: a.Datacenter}))
}

// defaultRepository is the default repository with these answers: the first one becomes it.
func (a Answers) defaultRepository(c *config.Config) string {
	if c.DefaultRepository == "" {
		return a.RepositoryID
	}
	return c.DefaultRepository
}

// apply sets the answers in a configuration.
func (a Answers) apply(c *config.Config) {
	c.DefaultRepository = a.defaultRepository(c)
	c.SNA.URL, c.HTTP.Enabled = a.SNA, true
	at := slices.IndexFunc(c.Repositories, func(r config.Repository) bool { return r.ID == a.RepositoryID })
	if at < 0 {
		at = len(c.Repositories)
		c.Repositories = append(c.Repositories, config.Repository{ID: a.RepositoryID})
	}
	c.Repositories[at].Path = a.RepositoryPath
	credential := credentialOf(c, a.VCenter)
	if c.VCenters == nil {
		c.VCenters = map[string]config.VCenter{}
	}
	v := c.VCenters[a.VCenter]
	v.Host, v.User, v.PasswordCredential, v.Datacenter = a.Host, a.User, credential, a.Datacenter
	c.VCenters[a.VCenter] = v
}
