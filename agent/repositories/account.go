package repositories

import (
	"fmt"
	"os/user"
	"strconv"
	"syscall"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/repository"
)

// ExporterAccount returns the account of everything that touches image data. It fails if the configured user or group does not exist.
func ExporterAccount(cfg *config.Config) (Account, error) {
	e, err := lookupExporter(cfg.Agent.ExporterUser, cfg.Agent.ExporterGroup)
	return Account{Credential: e.credential(), Owner: e.owner()}, err
}

// exporterUser is the account of everything that touches image data. The zero value is the agent's own user.
type exporterUser struct {
	user, group string
	uid, gid    int
}

func lookupExporter(userName, groupName string) (exporterUser, error) {
	if userName == "" {
		return exporterUser{}, nil
	}
	u, err := user.Lookup(userName)
	if err != nil {
		return exporterUser{}, fmt.Errorf("agent.exporter_user %q: %w: create it (systemd-sysusers) or set another user", userName, err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if groupName != "" {
		g, err := user.LookupGroup(groupName)
		if err != nil {
			return exporterUser{}, fmt.Errorf("agent.exporter_group %q: %w: create it (systemd-sysusers) or set another group", groupName, err)
		}
		gid, _ = strconv.Atoi(g.Gid)
	}
	return exporterUser{user: userName, group: groupName, uid: uid, gid: gid}, nil
}

func (e exporterUser) credential() *syscall.Credential {
	if e.user == "" {
		return nil
	}
	return &syscall.Credential{Uid: uint32(e.uid), Gid: uint32(e.gid)}
}

func (e exporterUser) owner() *repository.Owner {
	if e.user == "" {
		return nil
	}
	return &repository.Owner{UID: e.uid, GID: e.gid}
}
