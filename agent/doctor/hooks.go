package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/sendense/backup-agent/agent/config"
)

// hooks checks what the commands of the hooks need on this host. It runs none.
func hooks(cfg *config.Config) (found []Finding) {
	for _, h := range cfg.Hooks {
		about := one("hooks", h.ID)
		problem, hint := hookProblem(h)
		if problem != "" {
			found = append(found, about.error(problem, hint)...)
			continue
		}
		found = append(found, about.ok(fmt.Sprintf("%s can run, %s", h.Command[0], h.When))...)
	}
	return found
}

// hookProblem says what a hook lacks, and what to do; "" = nothing.
func hookProblem(h config.Hook) (problem, hint string) {
	if problem := programProblem(h.Command[0]); problem != "" {
		return problem, "install the program, or correct command in the [[hook]]"
	}
	if h.Account != "" {
		if _, err := user.Lookup(h.Account); err != nil {
			return err.Error(), "make the account, or correct account in the [[hook]]"
		}
	}
	for _, name := range h.Credentials {
		source := filepath.Join(config.CredentialStore, name)
		if _, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) && !encryptedSource(name) {
			return source + " does not exist", "put the secret there, with mode 0600, then " + restart
		}
		loaded := filepath.Join(credentialDir(), name)
		if _, err := os.Stat(loaded); errors.Is(err, fs.ErrNotExist) && isDir(credentialDir()) {
			return "credential " + name + " is there, but the daemon has not loaded it", restart
		}
	}
	return "", ""
}

// programProblem says why the sandbox of a command cannot run a program; "" = it can.
func programProblem(program string) string {
	switch info, err := os.Stat(program); {
	case errors.Is(err, fs.ErrNotExist):
		return program + " does not exist"
	case err != nil:
		return err.Error()
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return program + " is not an executable file"
	}
	for _, hidden := range []string{"/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev"} {
		if strings.HasPrefix(program, hidden+"/") {
			return program + " is not visible in the sandbox: put it below /usr/local"
		}
	}
	return ""
}
