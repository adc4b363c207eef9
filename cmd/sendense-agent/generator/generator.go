// Package generator writes what the packaged units need to know of the configuration: drop-ins of the daemon's service and of its two
// sockets, with the directories, credentials and addresses that the configuration names (docs/decisions/0015-systemd-generator.md).
//
// The command "sendense-agent systemd-generator" calls Write; systemd runs it at boot and at daemon-reload (systemd.generator(7)).
// Outdated tells when systemd still works with drop-ins of an older configuration. The package starts no unit and asks systemd
// nothing.
package generator

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

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

// Write writes the drop-ins of the units below a directory that systemd has just made.
func Write(cfg *config.Config, dir string) error {
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

// dropIns is the text that is added to each unit.
func dropIns(cfg *config.Config) map[string]string {
	const origin = "# Made by sendense-agent-generator from the configuration: change that, and run systemctl daemon-reload.\n"
	units := map[string]string{
		serviceUnit: origin + "[Service]\n" + strings.Join(serviceSettings(cfg), ""),
		// The empty value removes the one of the packaged unit.
		rpcSocket: origin + "[Socket]\nListenStream=\nListenStream=" + unspecified(cfg.Agent.Socket) + "\nSocketGroup=" + cfg.Agent.SocketGroup + "\n",
	}
	if cfg.HTTP.Enabled {
		units[httpSocket] = origin + "[Socket]\nListenStream=\nListenStream=" + cfg.HTTP.Listen + "\n"
	}
	return units
}

func serviceSettings(cfg *config.Config) []string {
	var lines []string
	lines = append(lines, grant(cfg.Agent.StateDirectory))
	for _, name := range slices.Sorted(maps.Keys(cfg.VCenters)) {
		credential := cfg.VCenters[name].PasswordCredential
		// Without the empty one, a missing file keeps the daemon from starting.
		lines = append(lines, fmt.Sprintf("SetCredential=%s:\\n\nLoadCredential=%s:/etc/credstore/%s\n", credential, credential, credential))
	}
	for _, id := range passedOn(cfg) {
		lines = append(lines, give(id))
	}
	for _, address := range otherHosts(cfg) {
		lines = append(lines, "IPAddressAllow="+address+"\n")
	}
	if cfg.HTTP.Enabled {
		lines = append(lines, "Sockets="+httpSocket+"\n") // also starts it, and before the daemon
	}
	return lines
}

// passedOn lists the credentials that the daemon passes on, each once: the keys of the repositories, and what hooks ask for.
func passedOn(cfg *config.Config) []string {
	var ids []string
	for _, r := range cfg.Repositories {
		ids = append(ids, r.Keys()...)
	}
	for _, h := range cfg.Hooks {
		ids = append(ids, h.Credentials...)
	}
	for _, v := range cfg.VCenters { // they are given already
		ids = slices.DeleteFunc(ids, func(id string) bool { return id == v.PasswordCredential })
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// give gives a credential to the daemon, from which its exporters and its hooks get it. systemd looks for a bare name in the credential
// store. A missing one does not keep the daemon from starting: the daemon says what is missing. No empty one takes its place.
func give(id string) string {
	if _, err := os.Stat(filepath.Join(config.EncryptedStore, id)); err == nil {
		return fmt.Sprintf("LoadCredentialEncrypted=%s\n", id)
	}
	return fmt.Sprintf("LoadCredential=%s\n", id)
}

// grant lets the daemon write below a directory. The dash lets it start without the directory: the daemon then says what is missing. It
// is granted no repository: only the process of a repository writes there.
func grant(dir string) string {
	for _, covered := range []string{"/home", "/root", "/run/user", "/tmp", "/var/tmp"} {
		if strings.HasPrefix(dir, covered+"/") { // ProtectHome= and PrivateTmp= put an empty directory there
			return "BindPaths=" + quoted("-"+strings.ReplaceAll(dir, ":", `\:`)) + "\n"
		}
	}
	return "ReadWritePaths=" + quoted("-"+dir) + "\n"
}

// otherHosts lists the addresses beyond this host that the daemon must reach, or be reached from, for IPAddressAllow=. For a name it
// is "any": its address is what a DNS server says.
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
		list = append(list, "any") // a listener on another address is for other hosts
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
