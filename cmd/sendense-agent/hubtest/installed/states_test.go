package installed_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sendense/backup-agent/cmd/internal/docblocks"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// settle makes the state that most blocks run in: the daemon runs, nothing is in progress or paused, and web-01 has two whole restore
// points.
func (r *reader) settle() {
	r.Helper()
	if r.output("systemctl", "is-active", "sendense-agent.service") != "active\n" {
		r.run("systemctl", "start", "sendense-agent.socket", "sendense-agent.service")
	}
	c := r.dial()
	defer c.Close()
	restores, err := c.ListRestores(r.Context(), rpc.RestoreQuery{ActiveOnly: true})
	hubtest.Must(r.T, err)
	for _, x := range restores.Restores {
		r.run("sendensectl", "restore", "stop", x.RestoreID)
	}
	r.eventually("no backup is in progress", func() bool {
		status, err := c.Status(r.Context())
		return err == nil && status.ActiveBackups == 0
	})
	vms, err := c.ListVMs(r.Context(), rpc.VMQuery{})
	hubtest.Must(r.T, err)
	if !strings.Contains(fmt.Sprintf("%+v", vms.VMs), "web-01") {
		return // before the setup
	}
	r.backup = r.restorePoint("main")
}

// restorePoint is the newest restore point of web-01 in a repository. It is an incremental.
func (r *reader) restorePoint(repository string) string {
	r.Helper()
	c := r.dial()
	defer c.Close()
	for {
		page, err := c.ListBackups(r.Context(), rpc.BackupQuery{VMName: "web-01", RepositoryID: repository, State: rpc.Completed})
		hubtest.Must(r.T, err)
		if len(page.Backups) > 0 && page.Backups[0].BackupType == rpc.Incremental {
			return page.Backups[0].BackupID
		}
		r.run("sendensectl", "backup", "start", "web-01", "--type", "auto", "--repository", repository, "--wait")
	}
}

// state makes another state, and returns the directory to run in and what ends the state.
func (r *reader) state(name string) (dir string, leave func()) {
	r.Helper()
	nothing := func() {}
	work, err := os.MkdirTemp(r.dir, "work-")
	hubtest.Must(r.T, err)
	switch name {
	case "", "for a second":
		return work, nothing
	case "confirmed":
		return work, nothing
	case "with a way back":
		return work, r.comeBack
	case "in the restore point":
		return filepath.Join("/srv/backup/web-01", r.backup), nothing
	case "with two mounts":
		for range 2 {
			r.run("mount", "--bind", "--make-private", "/mnt/new", "/srv/backup")
		}
		return work, nothing
	case "with an audit head":
		_, head, _ := strings.Cut(r.output("sendense-agent", "audit", "verify"), "head: ")
		r.Setenv("HEAD", strings.TrimSpace(head))
		return work, nothing
	case "with a schedule":
		return work, r.schedule()
	case "with a saved VM":
		hubtest.Must(r.T, os.WriteFile(filepath.Join(work, "web-01.json"), []byte(r.output("sendensectl", "vm", "show", "web-01", "-o", "json")), 0o644))
		return work, nothing
	case "with a settings file":
		r.run("sendense-agent", "export-settings", "-o", filepath.Join(work, "hub1.json"))
		return work, nothing
	case "with an age key":
		r.run("age-keygen", "-o", filepath.Join(work, "key.txt"))
		hubtest.Must(r.T, os.WriteFile(filepath.Join(work, "age-key.pub"), []byte(r.output("age-keygen", "-y", filepath.Join(work, "key.txt"))), 0o644))
		return work, nothing
	case "with encrypted settings":
		r.run("age-keygen", "-o", filepath.Join(work, "key.txt"))
		key := strings.TrimSpace(r.output("age-keygen", "-y", filepath.Join(work, "key.txt")))
		r.run("sendense-agent", "export-settings", "--secrets", "--recipient", key, "-o", filepath.Join(work, "hub1.json"))
		return work, nothing
	case "with a damaged restore point":
		return work, r.damage()
	case "with an encrypted restore point":
		return filepath.Join("/srv/encrypted/web-01", r.restorePoint("encrypted")), r.plainOnly
	}
	r.Fatalf("no test makes the state %q", name)
	return "", nothing
}

// schedule adds the group and the schedule that docs/operations.md shows to the configuration. They stay: the blocks behind it use them.
func (r *reader) schedule() (leave func()) {
	r.Helper()
	blocks, err := docblocks.Read(filepath.Join(root, "docs/operations.md"))
	hubtest.Must(r.T, err)
	for _, b := range blocks {
		if b.Language == "toml" && strings.Contains(b.Text, "[[schedule]]") {
			text, err := os.ReadFile(configFile)
			hubtest.Must(r.T, err)
			hubtest.Must(r.T, os.WriteFile(configFile, append(text, "\n"+b.Text...), 0o644))
			return func() {
				if next := r.output("sendensectl", "schedule", "next", "nightly"); strings.Count(next, "22:") != 10 { // systemd reads the calendar, in the daemon's sandbox
					r.Errorf("the next runs of the schedule: %s", next)
				}
			}
		}
	}
	r.Fatal("docs/operations.md shows no schedule")
	return nil
}

// comeBack has the repository in its old place again.
func (r *reader) comeBack() {
	r.Helper()
	r.run("systemctl", "stop", "sendense-agent.socket", "sendense-agent-http.socket", "sendense-agent.service")
	r.run("sed", "-i", `s,"/mnt/new","/srv/backup",`, configFile)
	r.run("mv", "/var/lib/sendense-agent/agent.db.before-move", "/var/lib/sendense-agent/agent.db")
	r.run("systemctl", "daemon-reload")
	r.run("systemctl", "start", "sendense-agent.socket", "sendense-agent.service")
}

// plainOnly takes the encrypted repository out of the configuration: QEMU needs seconds of processor time for each encrypted image.
func (r *reader) plainOnly() {
	r.Helper()
	text, err := os.ReadFile(configFile)
	hubtest.Must(r.T, err)
	text, _, _ = bytes.Cut(text, []byte(encryptedRepository))
	hubtest.Must(r.T, os.WriteFile(configFile, text, 0o644))
	r.run("systemctl", "daemon-reload")
	r.run("systemctl", "restart", "sendense-agent")
}

// timedated gives the machine the service that timedatectl asks.
func (r *reader) timedated() {
	r.Helper()
	const name = "systemd-timedated.service"
	unit, err := os.ReadFile(filepath.Join("/usr/lib/systemd/system", name))
	if err != nil {
		unit, err = os.ReadFile(filepath.Join("/lib/systemd/system", name))
	}
	hubtest.Must(r.T, err)
	for _, n := range []string{name, "dbus-org.freedesktop.timedate1.service"} {
		hubtest.Must(r.T, os.WriteFile(filepath.Join("/run/systemd/system", n), unit, 0o644))
	}
	r.run("systemctl", "daemon-reload")
}

// damage cuts the data of the full backup below the restore point short, until the returned function puts it back.
func (r *reader) damage() (repair func()) {
	r.Helper()
	b, err := r.dial().GetBackup(r.Context(), r.backup)
	hubtest.Must(r.T, err)
	for b.ParentBackupID != "" {
		b, err = r.dial().GetBackup(r.Context(), b.ParentBackupID)
		hubtest.Must(r.T, err)
	}
	images, err := filepath.Glob(filepath.Join("/srv/backup/web-01", b.BackupID, "*-disk0.qcow2"))
	hubtest.Must(r.T, err)
	if len(images) != 1 {
		r.Fatalf("images: %v", images)
	}
	whole := filepath.Join(r.dir, "whole.qcow2")
	r.run("cp", "--preserve=all", images[0], whole)
	info, err := os.Stat(images[0])
	hubtest.Must(r.T, err)
	hubtest.Must(r.T, os.Truncate(images[0], info.Size()-1<<20))
	return func() {
		r.run("cp", "--preserve=all", whole, images[0])
		r.run("sendensectl", "backup", "verify", r.backup, "--deep")
	}
}
