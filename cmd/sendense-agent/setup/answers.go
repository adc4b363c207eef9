package setup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/config"
)

// Answers are what the setup needs to know.
type Answers struct {
	RepositoryID, RepositoryPath         string
	VCenter, Host, User, Datacenter, SNA string // VCenter is the name in the configuration

	// password is "" if the one that is there stays.
	password string
}

// A question is one value: a flag, and what is asked on a terminal.
type question struct {
	flag, text string
	to         *string
	suggestion string // what the terminal offers when the configuration has no value
}

// fromConfiguration fills what no flag gives with the values that are configured, or with the defaults.
func (a *Answers) fromConfiguration(c *config.Config) {
	fill := func(to *string, values ...string) {
		for _, v := range values {
			if *to == "" {
				*to = v
			}
		}
	}
	first := ""
	if len(c.Repositories) > 0 {
		first = c.Repositories[0].ID
	}
	fill(&a.RepositoryID, c.DefaultRepository, first, "main")
	for _, r := range c.Repositories {
		if r.ID == a.RepositoryID {
			fill(&a.RepositoryPath, r.Path)
		}
	}
	if names := slices.Sorted(maps.Keys(c.VCenters)); len(names) == 1 {
		fill(&a.VCenter, names[0])
	}
	fill(&a.VCenter, "main")
	v := c.VCenters[a.VCenter]
	fill(&a.Host, v.Host)
	fill(&a.User, v.User)
	fill(&a.Datacenter, v.Datacenter)
	fill(&a.SNA, c.SNA.URL)
}

// collect takes the answers from the flags, then from the configuration, and asks for the rest if there is a terminal.
func collect(ctx context.Context, o Options, now *configuration) (Answers, error) {
	a, given := o.Flags, o.Flags
	a.fromConfiguration(now.config)
	questions := []question{
		{"repository", "Directory of the restore points", &a.RepositoryPath, "/srv/backup"},
		{"vcenter", "Host name of the vCenter", &a.Host, ""},
		{"user", "User of the vCenter that makes the backups", &a.User, ""},
		{"datacenter", "Datacenter", &a.Datacenter, ""},
		{"sna-url", "URL of the SNA, at this end of the tunnel", &a.SNA, ""},
	}
	byFlag := []string{given.RepositoryPath, given.Host, given.User, given.Datacenter, given.SNA}
	var err error
	if o.PasswordFD >= 0 {
		if a.password, err = passwordFrom(o.PasswordFD); err != nil {
			return a, err
		}
	}
	hasPassword := a.password != "" || storedPassword(now.config, a.VCenter)
	if !isTerminal(o.In) {
		return a, missing(questions, hasPassword || o.DryRun)
	}
	t, err := openTerminal(ctx, o.In, o.Out)
	if err != nil {
		return a, err
	}
	defer t.close()
	for i, q := range questions {
		if byFlag[i] != "" {
			continue
		}
		if *q.to, err = t.demand(q); err != nil {
			return a, err
		}
	}
	if a.password == "" && !o.DryRun {
		a.password, err = t.askPassword(a, hasPassword)
	}
	return a, err
}

// missing names every flag that has no value.
func missing(questions []question, hasPassword bool) error {
	var flags []string
	for _, q := range questions {
		if *q.to == "" {
			flags = append(flags, "--"+q.flag)
		}
	}
	if !hasPassword {
		flags = append(flags, "--password-fd")
	}
	if len(flags) == 0 {
		return nil
	}
	return fmt.Errorf("missing: %s. Without a terminal, each value must be given by a flag or be in the configuration",
		strings.Join(flags, ", "))
}

// credentialOf is the name of the credential of a vCenter.
func credentialOf(c *config.Config, vcenter string) string {
	if name := c.VCenters[vcenter].PasswordCredential; name != "" {
		return name
	}
	return "vcenter-" + vcenter
}

func passwordPath(c *config.Config, vcenter string) string {
	return filepath.Join(config.CredentialStore, credentialOf(c, vcenter))
}

// storedPassword reports whether there is a password that the setup may keep.
func storedPassword(c *config.Config, vcenter string) bool {
	info, err := os.Stat(passwordPath(c, vcenter))
	return err == nil && info.Size() > 0
}

const maxPassword = 4096 // bytes

// passwordFrom reads one line from a descriptor of this process.
func passwordFrom(fd int) (string, error) {
	f := os.NewFile(uintptr(fd), fmt.Sprintf("descriptor %d", fd))
	if f == nil {
		return "", fmt.Errorf("--password-fd %d: is no descriptor", fd)
	}
	line, err := bufio.NewReader(io.LimitReader(f, maxPassword+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("--password-fd %d: cannot be read: %w", fd, err)
	}
	password := strings.TrimRight(line, "\r\n")
	switch {
	case password == "":
		return "", fmt.Errorf("--password-fd %d: there is no password on it", fd)
	case len(password) > maxPassword:
		return "", fmt.Errorf("--password-fd %d: more than %d bytes", fd, maxPassword)
	}
	return password, nil
}
