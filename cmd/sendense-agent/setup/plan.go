package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/agent/repositories"
)

// A plan is what the setup will write. All of it is checked.
type plan struct {
	answers Answers
	now     *configuration
	text    []byte // the new configuration
	config  *config.Config
	place   place

	passwordPath string
	password     bool // it will be written
	replaces     bool // another password is there

	sna doctor.Finding
}

// newPlan checks every answer and names every problem at once.
func newPlan(ctx context.Context, now *configuration, a Answers) (*plan, error) {
	p := &plan{answers: a, now: now, passwordPath: passwordPath(now.config, a.VCenter)}
	problems := []error{a.check(now.config)}
	var err error
	p.place, err = checkPlace(ctx, a.RepositoryPath, now.config.Space.Reserve.Bytes())
	problems = append(problems, err)
	p.text, p.config, err = now.with(a)
	problems = append(problems, err)
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if _, err := repositories.Apart(p.config); err != nil {
		return nil, err
	}
	if err := p.comparePassword(); err != nil {
		return nil, err
	}
	p.sna = doctor.SNA(ctx, p.config)
	return p, ctx.Err()
}

// check finds what the configuration does not: what is allowed there, and wrong here.
func (a Answers) check(c *config.Config) error {
	var problems []error
	for _, v := range []struct{ flag, value string }{
		{"repository-id", a.RepositoryID}, {"vcenter-name", a.VCenter}, {"vcenter", a.Host}, {"user", a.User}, {"datacenter", a.Datacenter}, {"sna-url", a.SNA},
	} {
		if strings.ContainsFunc(v.value, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.TrimSpace(v.value) != v.value {
			problems = append(problems, fmt.Errorf("--%s %q: has a control character, or white space at an end", v.flag, v.value))
		}
	}
	if strings.Contains(a.Datacenter, "/") {
		problems = append(problems, fmt.Errorf("--datacenter %q: want the name of one datacenter, such as DC1, not a path", a.Datacenter))
	}
	for _, r := range c.Repositories {
		if r.ID == a.RepositoryID && r.Path != a.RepositoryPath && occupied(r.Path) {
			problems = append(problems, fmt.Errorf("repository %s is %s, which is not empty: the setup does not move restore points. "+
				"See \"Move a repository\" in docs/operations.md, or add a second one with --repository-id", r.ID, r.Path))
		}
	}
	return errors.Join(problems...)
}

// comparePassword decides whether the password is written: not if it is the one that is there.
func (p *plan) comparePassword() error {
	was, err := os.ReadFile(p.passwordPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	p.password = p.answers.password != "" && strings.TrimRight(string(was), "\r\n") != p.answers.password
	p.replaces = len(was) > 0
	return nil
}

func (p *plan) changesConfig() bool { return !p.now.exists || !bytes.Equal(p.text, p.now.text) }

func (p *plan) writes() bool { return p.place.make || p.password || p.changesConfig() }

// show says what will be written, and what is already there. It never shows the password.
func (p *plan) show(out io.Writer) {
	fmt.Fprintln(out, "\nChecked:")
	if p.place.make {
		fmt.Fprintf(out, "  %s: will be made; %d GiB are free\n", p.place.path, p.place.free>>30)
	} else {
		fmt.Fprintf(out, "  %s: exists; %d GiB are free\n", p.place.path, p.place.free>>30)
	}
	switch {
	case p.password && p.replaces:
		fmt.Fprintf(out, "  %s: the password will be replaced, mode 0600\n", p.passwordPath)
	case p.password:
		fmt.Fprintf(out, "  %s: the password will be written, mode 0600\n", p.passwordPath)
	case p.replaces:
		fmt.Fprintf(out, "  %s: the password stays as it is\n", p.passwordPath)
	default:
		fmt.Fprintf(out, "  %s: the password will be needed\n", p.passwordPath)
	}
	if p.sna.Status == doctor.OK {
		fmt.Fprintf(out, "  SNA %s: %s\n", p.sna.Object, p.sna.Message)
	} else {
		fmt.Fprintf(out, "  SNA: %s\n    Note: no backup can run before the SNA answers: %s. The rest can be set up now.\n", p.sna.Message, p.sna.Hint)
	}
	for _, note := range p.place.notes {
		fmt.Fprintf(out, "    Note: %s\n", note)
	}
	if !p.changesConfig() {
		fmt.Fprintf(out, "  %s: has all of this already; not written\n", p.now.path)
		return
	}
	was := p.now.text
	if !p.now.exists {
		fmt.Fprintf(out, "  %s: will be made from the packaged one\n", p.now.path)
	}
	fmt.Fprintf(out, "\nChanges:\n%s", diff.Diff(p.now.path, was, p.now.path+" (new)", p.text))
}
