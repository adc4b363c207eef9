package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// credentials checks that the daemon, and nobody else, can read every password that the configuration names. It shows no content.
func (h *host) credentials(ctx context.Context) []Finding {
	var found []Finding
	sources, known := h.credentialSources(ctx)
	for _, name := range slices.Sorted(maps.Keys(h.config.VCenters)) {
		found = append(found, h.vcenterCredential(name, sources, known)...)
		if h.config.VCenters[name].Datacenter == "" {
			found = append(found, one("config", "vcenter."+name+".datacenter").warn("it is empty, so vm discover and refresh are refused for this vCenter",
				"set datacenter in [vcenter."+name+"] of the configuration, then restart the daemon")...)
		}
	}
	if path := h.config.HTTP.TokenFile; path != "" && h.config.HTTP.Enabled {
		found = append(found, secretFile(one("credentials", "http.token_file"), path)...)
	}
	return found
}

// credentialSources lists the credentials of the daemon's unit, with the files that they come from.
func (h *host) credentialSources(ctx context.Context) (map[string]string, bool) {
	if h.bus == nil {
		return nil, false
	}
	if s, err := h.bus.State(ctx, daemonUnit); err != nil || s.Load != "loaded" {
		return nil, false
	}
	sources, err := h.bus.Credentials(ctx, daemonUnit)
	return sources, err == nil
}

// credentialDir is where systemd puts the credentials of the daemon while it runs.
func credentialDir() string {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		return dir
	}
	return "/run/credentials/" + daemonUnit
}

func (h *host) vcenterCredential(vcenter string, sources map[string]string, known bool) []Finding {
	name := h.config.VCenters[vcenter].PasswordCredential
	about := one("credentials", "vcenter."+vcenter)
	source, given := sources[name]
	loaded := filepath.Join(credentialDir(), name)
	give := fmt.Sprintf("give it to the daemon with LoadCredential=%s:/path/to/file in %s", name, daemonUnit)
	if source != "" { // the next start reads this file
		return with(secretFile(about, source), "credential", name)
	}
	switch err := readable(loaded); {
	case err == nil:
		return with(about.ok("credential "+name+" is loaded"), "credential", name)
	case errors.Is(err, fs.ErrPermission):
		return about.skip("credential "+name+": this user may not read it", "run as root")
	case !errors.Is(err, fs.ErrNotExist):
		return about.error("credential "+name+": "+err.Error(), give)
	case given:
		return about.ok("credential " + name + " is configured in the daemon's unit")
	case known:
		return about.error("credential "+name+" is not given to the daemon", give)
	}
	return about.warn("credential "+name+": not checked: the daemon is not a unit of this machine", give)
}

// secretFile checks that a file with a secret exists, is not empty, and can be read by its owner only.
func secretFile(about subject, path string) []Finding {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return about.error(path+" does not exist", "put the secret there, with mode 0600")
	case errors.Is(err, fs.ErrPermission):
		return about.skip(path+": this user may not read it", "run as root")
	case err != nil:
		return about.error(err.Error(), "it must be a file that the daemon can read")
	case info.Mode()&0o077 != 0:
		return about.error(fmt.Sprintf("%s: mode %04o: others can read the secret", path, info.Mode().Perm()), "chmod 0600 "+path)
	}
	switch err := readable(path); {
	case errors.Is(err, fs.ErrPermission):
		return about.skip(path+": this user may not read it", "run as root")
	case err != nil:
		return about.error(err.Error(), "put the secret there, with mode 0600")
	}
	return about.ok(path + " can be read by its owner only")
}

// readable reads one byte of a file, and drops it.
func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	if n, err := f.Read(make([]byte, 1)); n == 0 {
		return fmt.Errorf("%s is empty or cannot be read: %w", path, err)
	}
	return nil
}
