package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// When a hook runs.
const (
	BeforeRun = "before_run" // before the VMs of a run are chosen
	AfterRun  = "after_run"  // when every VM of it has ended
	BeforeVM  = "before_vm"  // before each try of a VM
	AfterVM   = "after_vm"   // after each try of a VM, however it ended
)

// What the failure of a hook does.
const (
	FailOnFailure     = "fail"     // the run or the try fails
	ContinueOnFailure = "continue" // it is a warning of the run
)

// A Hook is a command that runs before or after the runs of schedules, or before or after the VMs in them.
type Hook struct {
	ID          string   `toml:"id"`          // 1 to 64 of A-Z a-z 0-9 . _ -
	When        string   `toml:"when"`        // BeforeRun, AfterRun, BeforeVM or AfterVM
	Schedules   []string `toml:"schedules"`   // ids; none = all
	VMs         []string `toml:"vms"`         // of BeforeVM and AfterVM: patterns of names, as in a group; none = all
	Command     []string `toml:"command"`     // absolute path and arguments
	Account     string   `toml:"account"`     // "" = a user that exists only meanwhile
	Credentials []string `toml:"credentials"` // names of systemd credentials that the command gets
	TimeLimit   Duration `toml:"time_limit"`  // 0 = 5m
	OnFailure   string   `toml:"on_failure"`  // FailOnFailure or ContinueOnFailure; "" = FailOnFailure
}

const (
	defaultHookLimit = 5 * time.Minute
	maxHookLimit     = 24 * time.Hour
)

// Limit is how long the command may run.
func (h Hook) Limit() time.Duration {
	if h.TimeLimit.Std() == 0 {
		return defaultHookLimit
	}
	return h.TimeLimit.Std()
}

// Fails reports whether a failure of the hook is one of the run or the try.
func (h Hook) Fails() bool { return h.OnFailure != ContinueOnFailure }

// Private are the paths that no command of the configuration may see: the state of the agent, its socket, its credentials and the
// repositories. A command that runs as root could read them.
func (c *Config) Private() []string {
	list := []string{c.Agent.StateDirectory, filepath.Dir(c.Agent.Socket)}
	if credentials := os.Getenv("CREDENTIALS_DIRECTORY"); credentials != "" {
		list = append(list, credentials)
	}
	for _, r := range c.Repositories {
		list = append(list, r.Path)
	}
	return list
}

// HooksOf returns the hooks that run at some point of a schedule, in the order of the configuration. vm is "" for the points of a run.
func (c *Config) HooksOf(when, schedule, vm string) (list []Hook) {
	for _, h := range c.Hooks {
		if h.When == when && (len(h.Schedules) == 0 || slices.Contains(h.Schedules, schedule)) && (vm == "" || len(h.VMs) == 0 || slices.ContainsFunc(h.VMs, func(p string) bool { return Match(p, vm) })) {
			list = append(list, h)
		}
	}
	return list
}

func (c *Config) validateHooks(p *problems) {
	ids := map[string]bool{}
	for i, h := range c.Hooks {
		key := p.id("hook", i, h.ID, ids)
		p.oneOf(key+": when", h.When, BeforeRun, AfterRun, BeforeVM, AfterVM)
		for _, id := range h.Schedules {
			_, known := c.Schedule(id)
			p.check(known, key+": schedules", "%q: no [[schedule]] has this id: add it, or name another", id)
		}
		ofVMs := h.When == BeforeVM || h.When == AfterVM
		p.check(ofVMs || len(h.VMs) == 0, key+": vms", "a hook with when = %q has no such key: remove it", h.When)
		for _, pattern := range h.VMs {
			p.checkPattern(key+": vms", pattern)
		}
		h.validateCommand(p, key)
		h.validateCredentials(p, key, c.Agent.Bus)
		if h.OnFailure != "" {
			p.oneOf(key+": on_failure", h.OnFailure, FailOnFailure, ContinueOnFailure)
		}
	}
}

func (h Hook) validateCommand(p *problems, key string) {
	p.check(len(h.Command) > 0, key+": command", `is missing: set the path of a program and its arguments, such as ["/usr/local/bin/prepare"]`)
	if len(h.Command) > 0 {
		p.check(filepath.IsAbs(h.Command[0]), key+": command", "%q: want an absolute path", h.Command[0])
	}
	for _, word := range h.Command {
		p.check(!strings.ContainsAny(word, "\x00\n"), key+": command", "%q: want no line breaks", word)
	}
	p.check(h.Account == "" || accountName.MatchString(h.Account), key+": account", "%q: want the name of an account, or nothing", h.Account)
	p.check(h.Limit() >= time.Second && h.Limit() <= maxHookLimit, key+": time_limit", `%s: want "1s" to "24h", or "0s" for 5m`, h.TimeLimit)
}

func (h Hook) validateCredentials(p *problems, key, bus string) {
	for _, name := range h.Credentials {
		p.check(safeCredential(name), key+": credentials", "%q: want the name of a file in "+CredentialStore+", such as pg-password", name)
	}
	p.check(len(h.Credentials) == 0 || bus != BusUser, key+": credentials",
		`needs agent.bus = "system": the systemd of a user session cannot pass credentials to commands`)
}
