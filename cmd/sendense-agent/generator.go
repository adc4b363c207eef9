package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/agent/config"
)

// The units of the package, and where it installs them.
const (
	serviceUnit = "sendense-agent.service"
	rpcSocket   = "sendense-agent.socket"
	httpSocket  = "sendense-agent-http.socket"
	unitDir     = "/usr/lib/systemd/system"
	dropIn      = "50-configuration.conf"
)

// generatorCommand is what systemd runs at boot and at daemon-reload (systemd.generator(7)): the daemon's unit lets it
// reach nothing, and what it may reach is read from the configuration, so that a repository is named in one place only.
func generatorCommand(path *string) *cobra.Command {
	return &cobra.Command{
		Use:    "systemd-generator DIRECTORY [EARLY LATE]",
		Short:  "Write what the daemon's units need to know of the configuration",
		Hidden: true,
		Args:   cobra.RangeArgs(1, 3),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := config.Load(*path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			return generate(cfg, args[0])
		},
	}
}

// generate writes the drop-ins of the units below a directory that systemd has just made.
func generate(cfg *config.Config, dir string) error {
	for unit, text := range dropIns(cfg) {
		at := filepath.Join(dir, unit+".d")
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(at, dropIn), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if !cfg.HTTP.Enabled {
		return nil
	}
	wants := filepath.Join(dir, "sockets.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	return os.Symlink(filepath.Join(unitDir, httpSocket), filepath.Join(wants, httpSocket))
}

// dropIns is what is added to each unit.
func dropIns(cfg *config.Config) map[string]string {
	const origin = "# Made by sendense-agent-generator from the configuration: change that, and run systemctl daemon-reload.\n"
	units := map[string]string{
		serviceUnit: origin + "[Service]\n" + strings.Join(serviceSettings(cfg), ""),
		// An empty value takes back what the packaged unit says.
		rpcSocket: origin + "[Socket]\nListenStream=\nListenStream=" + unspecified(cfg.Agent.Socket) + "\nSocketGroup=" + cfg.Agent.SocketGroup + "\n",
	}
	if cfg.HTTP.Enabled {
		units[httpSocket] = origin + "[Socket]\nListenStream=\nListenStream=" + cfg.HTTP.Listen + "\n"
	}
	return units
}

func serviceSettings(cfg *config.Config) []string {
	var lines []string
	for _, dir := range append([]string{cfg.Agent.StateDirectory}, repositoryPaths(cfg)...) {
		lines = append(lines, grant(dir))
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.VCenters)) {
		credential := cfg.VCenters[name].PasswordCredential
		// An empty one takes the place of a file that is not there, which would keep the daemon from starting.
		lines = append(lines, fmt.Sprintf("SetCredential=%s:\\n\nLoadCredential=%s:/etc/credstore/%s\n", credential, credential, credential))
	}
	for _, id := range repositoryKeys(cfg) {
		lines = append(lines, giveKey(id))
	}
	for _, address := range otherHosts(cfg) {
		lines = append(lines, "IPAddressAllow="+address+"\n")
	}
	if cfg.HTTP.Enabled {
		lines = append(lines, "Sockets="+httpSocket+"\n") // also starts it, and before the daemon
	}
	return lines
}

func repositoryPaths(cfg *config.Config) []string {
	paths := make([]string, len(cfg.Repositories))
	for i, r := range cfg.Repositories {
		paths[i] = r.Path
	}
	return paths
}

// repositoryKeys lists the keys of all repositories, each once.
func repositoryKeys(cfg *config.Config) []string {
	var ids []string
	for _, r := range cfg.Repositories {
		ids = append(ids, r.Keys()...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// giveKey lets the daemon have a key, from which its exporters get it. A name alone is looked for in the credential store, and
// one that is not there keeps nobody from starting: the daemon says what is missing. Nothing takes its place.
func giveKey(id string) string {
	if _, err := os.Stat(filepath.Join(config.EncryptedStore, id)); err == nil {
		return fmt.Sprintf("LoadCredentialEncrypted=%s\n", id)
	}
	return fmt.Sprintf("LoadCredential=%s\n", id)
}

// grant lets the daemon write below a directory. The dash is for one that is not there, as that of a network file system
// may be: the daemon must start, and say what is missing.
func grant(dir string) string {
	for _, covered := range []string{"/home", "/root", "/run/user", "/tmp", "/var/tmp"} {
		if strings.HasPrefix(dir, covered+"/") { // ProtectHome= and PrivateTmp= put an empty directory there
			return "BindPaths=" + quoted("-"+strings.ReplaceAll(dir, ":", `\:`)) + "\n"
		}
	}
	return "ReadWritePaths=" + quoted("-"+dir) + "\n"
}

// otherHosts lists what the daemon must reach, or be reached from, beyond this host, for IPAddressAllow=. A name has
// whatever address a DNS server says.
func otherHosts(cfg *config.Config) []string {
	var list []string
	if u, err := url.Parse(cfg.SNA.URL); err == nil && !here(u.Hostname()) {
		address, err := netip.ParseAddr(u.Hostname())
		if err == nil {
			list = append(list, address.WithZone("").String())
		} else {
			list = append(list, "any")
		}
	}
	if host, _, err := net.SplitHostPort(cfg.Metrics.Listen); err == nil && cfg.Metrics.Enabled && !here(host) {
		list = append(list, "any") // who listens on another address is there for other hosts
	}
	return slices.Compact(list)
}

func here(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// quoted writes a path as one word of a unit file.
func quoted(path string) string {
	return fmt.Sprintf(`"%s"`, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(unspecified(path)))
}

// unspecified writes text that has no specifiers (%) in it.
func unspecified(text string) string { return strings.ReplaceAll(text, "%", "%%") }
