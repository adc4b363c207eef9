package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/pelletier/go-toml/v2"
)

// Salvage is Load for callers that must work with a wrong file. It always returns a valid configuration: wrong sections get
// their defaults, wrong repositories and vCenters are left out. The error is that of Load.
func Salvage(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Default(), fmt.Errorf("configuration: %w", err)
	}
	c, err := Parse(data)
	if err == nil {
		return c, nil
	}
	return salvage(data), errors.Join(prefixed(path, err)...)
}

func salvage(data []byte) *Config {
	c, initial := Default(), Default()
	if err := toml.NewDecoder(bytes.NewReader(data)).Decode(c); err != nil {
		return initial
	}
	valid := func(check func(p *problems)) bool {
		p := &problems{}
		check(p)
		return len(*p) == 0
	}
	if !valid(c.Agent.validate) {
		c.Agent = initial.Agent
	}
	if !valid(c.NBD.validate) {
		c.NBD = initial.NBD
	}
	if !valid(c.SNA.validate) {
		c.SNA = initial.SNA
	}
	if !valid(c.Deadlines.validate) {
		c.Deadlines = initial.Deadlines
	}
	if !valid(func(p *problems) { c.Limits.validate(p, c.NBD) }) {
		c.Limits = initial.Limits
	}
	if c.Space.Floor.Bytes() > c.Space.Reserve.Bytes() {
		c.Space = initial.Space
	}
	if !valid(c.validateListeners) {
		c.HTTP, c.Metrics = initial.HTTP, initial.Metrics
	}
	c.keepValid(valid)
	if c.Validate() != nil {
		return initial
	}
	return c
}

// keepValid drops the repositories and vCenters that are wrong.
func (c *Config) keepValid(valid func(func(*problems)) bool) {
	var repositories []Repository
	for _, r := range c.Repositories {
		one := &Config{Agent: c.Agent, Repositories: append(repositories, r)}
		if valid(one.validateRepositories) {
			repositories = one.Repositories
		}
	}
	c.Repositories = repositories
	if !valid(c.validateRepositories) { // only default_repository can still be wrong
		c.DefaultRepository = ""
	}
	for name, v := range c.VCenters {
		one := &Config{VCenters: map[string]VCenter{name: v}}
		if !valid(one.validateVCenters) {
			delete(c.VCenters, name)
		}
	}
}
