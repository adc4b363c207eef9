package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of values.
const (
	MinShared     = 2       // connections per export: the backup client hangs with fewer
	MaxShared     = 1024    // connections per export: more is a mistake
	minRateLimit  = 1 << 20 // bytes per second: at less a write of the backup client, up to 32 MiB, would time out
	maxSocketPath = 107     // bytes of a Unix socket's sun_path, without the final zero
)

var (
	safeID      = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)
	accountName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?$`)
	sliceName   = regexp.MustCompile(`^[A-Za-z0-9:_.\\]+(-[A-Za-z0-9:_.\\]+)*\.slice$`)
	hostName    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?$`)
)

// problems collects what is wrong, by key.
type problems []error

func (p *problems) add(key, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
}

// check adds the problem unless ok.
func (p *problems) check(ok bool, key, format string, args ...any) {
	if !ok {
		p.add(key, format, args...)
	}
}

// Validate returns every problem at once, joined, each naming its key and what to do.
func (c *Config) Validate() error {
	p := &problems{}
	c.Agent.validate(p)
	c.NBD.validate(p)
	c.SNA.validate(p)
	c.Deadlines.validate(p)
	c.Limits.validate(p, c.NBD)
	c.Restore.validate(p)
	c.Verify.validate(p)
	c.Prune.validate(p)
	p.check(c.Squeeze.MinChanges >= 0 && c.Squeeze.MinChanges <= 10_000, "squeeze.min_changes", "%d: want 0 to 10000", c.Squeeze.MinChanges)
	p.check(c.Squeeze.MinPercent >= 0 && c.Squeeze.MinPercent <= 100, "squeeze.min_percent", "%d: want 0 to 100", c.Squeeze.MinPercent)
	p.check(c.Space.Floor.Bytes() <= c.Space.Reserve.Bytes(), "space.floor", "%s is more than space.reserve (%s): lower it, or raise space.reserve",
		c.Space.Floor, c.Space.Reserve)
	c.validateListeners(p)
	c.validateRepositories(p)
	c.validatePolicies(p)
	c.validateVCenters(p)
	c.validateGroups(p)
	c.validateSchedules(p)
	c.validateHooks(p)
	p.check(c.Audit.Keep.Std() == 0 || c.Audit.Keep.Std() >= dayHours, "audit.keep", `%s: want "0s" for all, or at least "1d"`, c.Audit.Keep)
	return errors.Join(*p...)
}

func (a Agent) validate(p *problems) {
	p.path("agent.state_directory", a.StateDirectory)
	p.path("agent.socket", a.Socket)
	p.check(len(a.Socket) <= maxSocketPath, "agent.socket", "%d bytes long, the kernel takes at most %d: choose a shorter path",
		len(a.Socket), maxSocketPath)
	p.oneOf("agent.bus", a.Bus, BusSystem, BusUser)
	p.oneOf("agent.failed_images", a.FailedImages, RemoveImages, SetAsideImages)
	p.oneOf("agent.log_level", a.LogLevel, "debug", "info", "warn", "error")
	p.oneOf("agent.log_format", a.LogFormat, "auto", "journal", "json", "text")
	for _, f := range []struct{ key, name string }{
		{"agent.socket_group", a.SocketGroup},
		{"agent.exporter_user", a.ExporterUser},
		{"agent.exporter_group", a.ExporterGroup},
	} {
		p.check(f.name == "" || accountName.MatchString(f.name), f.key, "%q: want the name of an account, or nothing", f.name)
	}
	p.check(len(a.Slice) <= 255 && sliceName.MatchString(a.Slice), "agent.slice",
		"%q: want the name of a systemd slice, such as sendense-nbd.slice", a.Slice)
}

func (n NBD) validate(p *problems) {
	host, err := netip.ParseAddr(n.Host)
	p.check(err == nil && host.IsLoopback(), "nbd.host",
		"%q: want a loopback IP address such as 127.0.0.1: on any other address, idle clients could starve the backup client", n.Host)
	p.check(n.FirstPort > 0, "nbd.first_port", "want 1 to 65535")
	p.check(n.FirstPort <= n.LastPort, "nbd.last_port", "%d is below nbd.first_port (%d): raise it, or lower nbd.first_port", n.LastPort, n.FirstPort)
	p.path("nbd.qemu_nbd", n.QemuNBD)
	p.path("nbd.qemu_img", n.QemuImg)
	p.check(n.Shared >= MinShared && n.Shared <= MaxShared, "nbd.shared",
		"%d: want %d to %d: with fewer the backup client hangs", n.Shared, MinShared, MaxShared)
	p.positive("nbd.start_timeout", n.StartTimeout)
	p.positive("nbd.stop_timeout", n.StopTimeout)
}

func (s SNA) validate(p *problems) {
	u, err := url.Parse(s.URL)
	switch {
	case err != nil || u.Scheme != "http" || u.Hostname() == "":
		p.add("sna.url", "want http://HOST:PORT: the SNA has no TLS, its tunnel has")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		p.add("sna.url", "want no user, password, query or fragment: only http://HOST:PORT")
	}
	p.check(hostName.MatchString(s.NBDHost), "sna.nbd_host", "%q: want a host name or an IPv4 address", s.NBDHost)
	p.positive("sna.connect_timeout", s.ConnectTimeout)
	p.positive("sna.start_timeout", s.StartTimeout)
	p.positive("sna.discover_timeout", s.DiscoverTimeout)
}

func (d Deadlines) validate(p *problems) {
	p.positive("deadlines.first_connection", d.FirstConnection)
	p.positive("deadlines.no_progress", d.NoProgress)
	p.positive("deadlines.disconnect", d.Disconnect)
	p.positive("deadlines.last_question", d.LastQuestion)
}

func (l Limits) validate(p *problems, n NBD) {
	ports := max(int(n.LastPort)-int(n.FirstPort)+1, 0)
	p.check(l.MaxBackups >= 0, "limits.max_backups", "%d: want 0 or more", l.MaxBackups)
	p.check(l.MaxExports >= 0 && l.MaxExports <= ports, "limits.max_exports", "%d: want 0 to %d, the number of ports", l.MaxExports, ports)
	p.check(l.MaxQueued >= 0 && l.MaxQueued <= 100_000, "limits.max_queued", "%d: want 0 to 100000", l.MaxQueued)
	p.check(l.MaxRestores >= 0, "limits.max_restores", "%d: want 0 or more", l.MaxRestores)
}

func (r Restore) validate(p *problems) {
	p.positive("restore.lifetime", r.Lifetime)
	p.check(r.Lifetime.Std() <= r.MaxLifetime.Std(), "restore.lifetime", "%s is more than restore.max_lifetime (%s): lower it, or raise restore.max_lifetime",
		r.Lifetime, r.MaxLifetime)
	p.path("restore.guestfish", r.Guestfish)
	p.check(r.ReaderUser == "" || accountName.MatchString(r.ReaderUser), "restore.reader_user", "%q: want the name of an account, or nothing",
		r.ReaderUser)
}

func (v Verify) validate(p *problems) {
	for key, d := range map[string]Duration{"verify.interval": v.Interval, "verify.deep_interval": v.DeepInterval} {
		p.check(d.Std() == 0 || d.Std() >= time.Minute, key, `%s: want "0s" for never, or at least "1m"`, d)
	}
	p.check(v.RateLimit.Bytes() == 0 || v.RateLimit.Bytes() >= minRateLimit, "verify.rate_limit",
		"%s: want 0B for none, or at least %s", v.RateLimit, SizeOf(minRateLimit))
}

func (c *Config) validateListeners(p *problems) {
	p.listen("http.listen", c.HTTP.Listen)
	p.listen("metrics.listen", c.Metrics.Listen)
	if addr, err := netip.ParseAddrPort(c.HTTP.Listen); err != nil || !addr.Addr().IsLoopback() {
		p.add("http.listen", "%q: want a loopback IP address and a port: the callbacks have no authentication", c.HTTP.Listen)
	}
	if c.HTTP.TokenFile != "" {
		p.path("http.token_file", c.HTTP.TokenFile)
	}
	if c.Metrics.WebConfigFile != "" {
		p.path("metrics.web_config_file", c.Metrics.WebConfigFile)
	}
	p.check(c.Metrics.MaxVMs >= 0 && c.Metrics.MaxVMs <= 100_000, "metrics.max_vms", "%d: want 0 to 100000", c.Metrics.MaxVMs)
	interval := c.Metrics.BackupInterval.Std()
	p.check(interval == 0 || interval >= time.Minute, "metrics.backup_interval", `%s: want "0s" for none, or at least "1m"`, interval)
	c.validatePorts(p)
}

// validatePorts refuses a port that is used twice.
func (c *Config) validatePorts(p *problems) {
	ports := map[uint16]string{}
	for _, l := range []struct {
		key, listen string
		enabled     bool
	}{{"http.listen", c.HTTP.Listen, c.HTTP.Enabled}, {"metrics.listen", c.Metrics.Listen, c.Metrics.Enabled}} {
		port := portOf(l.listen)
		if !l.enabled || port == 0 {
			continue
		}
		p.check(port < c.NBD.FirstPort || port > c.NBD.LastPort, l.key,
			"port %d belongs to the exports (nbd.first_port to nbd.last_port): choose another port", port)
		p.check(ports[port] == "", l.key, "port %d is also used by %s: choose another port", port, ports[port])
		ports[port] = l.key
	}
}

func (c *Config) validateRepositories(p *problems) {
	ids := map[string]bool{}
	for i, r := range c.Repositories {
		key := fmt.Sprintf("repository %q", r.ID)
		if !safeID.MatchString(r.ID) {
			key = fmt.Sprintf("repository number %d", i+1)
			p.add(key+": id", "%q: want 1 to 64 letters, digits, dots, underscores or dashes, and no dot or dash first", r.ID)
		}
		p.check(!ids[r.ID], key+": id", "is listed twice: give each repository its own id")
		ids[r.ID] = true
		p.path(key+": path", r.Path)
		p.check(r.RateLimit.Bytes() == 0 || r.RateLimit.Bytes() >= minRateLimit, key+": rate_limit",
			"%s: want 0B for none, or at least %s", r.RateLimit, SizeOf(minRateLimit))
		p.check(r.MaxBackups >= 0, key+": max_backups", "%d: want 0 for no limit of its own, or more", r.MaxBackups)
		r.validateKeys(p, key, c)
		p.check(r.Path != "/", key+": path", "the root directory cannot be a repository: use a directory of its own")
		p.check(!overlaps(r.Path, c.Agent.StateDirectory), key+": path",
			"%q overlaps agent.state_directory %q: use separate directories", r.Path, c.Agent.StateDirectory)
		for _, other := range c.Repositories[:i] {
			p.check(!overlaps(r.Path, other.Path), key+": path", "%q overlaps %q of repository %q: use separate directories",
				r.Path, other.Path, other.ID)
		}
	}
	p.check(c.DefaultRepository == "" || ids[c.DefaultRepository], "default_repository",
		"%q: no [[repository]] has this id: add it, or name another", c.DefaultRepository)
}

func (c *Config) validateVCenters(p *problems) {
	for _, name := range slices.Sorted(maps.Keys(c.VCenters)) {
		v, key := c.VCenters[name], "vcenter."+name
		if !safeID.MatchString(name) {
			key = fmt.Sprintf("vcenter.%q", name)
			p.add(key, "want a name of 1 to 64 letters, digits, dots, underscores or dashes, and no dot or dash first")
		}
		p.check(isHost(v.Host), key+".host", "%q: want a host name or an IP address, with or without a port", v.Host)
		p.check(v.User != "", key+".user", "is missing: set the account that makes the backups")
		p.check(safeCredential(v.PasswordCredential), key+".password_credential",
			"%q: want the name of a file in %s, such as vcenter-main", v.PasswordCredential, CredentialStore)
	}
}

func (p *problems) path(key, path string) {
	switch {
	case path == "":
		p.add(key, "is missing: set an absolute path")
	case !filepath.IsAbs(path):
		p.add(key, "%q: want an absolute path", path)
	case filepath.Clean(path) != path || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		p.add(key, "%q: write it as %q", path, filepath.Clean(path))
	}
}

func (p *problems) oneOf(key, value string, allowed ...string) {
	p.check(slices.Contains(allowed, value), key, "%q: want one of %s", value, strings.Join(allowed, ", "))
}

func (p *problems) positive(key string, d Duration) {
	p.check(d.Std() > 0, key, "want more than 0, such as %q", "30s")
}

func (p *problems) listen(key, address string) {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	p.check(err == nil && (host == "" || isHost(host)), key, "%q: want ADDRESS:PORT, such as 127.0.0.1:9185", address)
}

// portOf is the port of an ADDRESS:PORT, or 0.
func portOf(address string) uint16 {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.ParseUint(port, 10, 16)
	return uint16(n)
}

// isHost accepts a host name or an IP address, with or without a port.
func isHost(s string) bool {
	if host, port, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
		s = host
	}
	_, err := netip.ParseAddr(s)
	return err == nil || hostName.MatchString(s)
}

// overlaps reports whether two clean paths are equal, or one lies inside the other.
func overlaps(a, b string) bool {
	return a != "" && b != "" && (inside(a, b) || inside(b, a))
}

func inside(path, directory string) bool {
	return path == directory || strings.HasPrefix(path, strings.TrimSuffix(directory, "/")+"/")
}
