package monitoring_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// theLife is what is logged of a backup without trouble: where it came from and where to, a line each. It is born out of
// nothing.
var theLife = [][2]string{
	{"", "preparing"}, {"preparing", "exporting"}, {"exporting", "calling"}, {"calling", "running"}, {"running", "finishing"}, {"finishing", "completed"},
}

// TestJournal: journalctl -u sendense-agent BACKUP_ID=... tells the life of that backup, a line for each transition, and
// nothing of the others.
func TestJournal(t *testing.T) {
	h := hubtest.ServiceHub(t, "[http]")
	sources := map[string][]string{"pgtest1": h.AddVM("pgtest1", hubtest.DiskSize, hubtest.DiskSize), "pgtest2": h.AddVM("pgtest2", hubtest.DiskSize)}
	ids := map[string]string{}
	for vm := range sources {
		b, err := h.Dial().StartBackup(t.Context(), rpc.StartRequest{VMName: vm, BackupType: rpc.Full})
		hubtest.Must(t, err)
		ids[vm] = b.BackupID
	}
	for vm, id := range ids {
		h.Completes(id, sources[vm])
	}
	for vm, id := range ids {
		var life [][2]string
		for _, e := range hubtest.Entries(t, "BACKUP_ID="+id) {
			from, _ := e["FROM"].(string)
			life = append(life, [2]string{from, fmt.Sprint(e["TO"])})
			if e["VM_NAME"] != vm || e["PRIORITY"] != "6" || !strings.Contains(fmt.Sprint(e["MESSAGE"]), id) {
				t.Errorf("%v", e)
			}
		}
		if diff := cmp.Diff(theLife, life); diff != "" {
			t.Errorf("of %s is logged:\n%s", id, diff)
		}
	}
	h.Control("fault", nil, map[string][]string{"faults": {"refuse=500:no licence"}})
	_, err := h.Dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest2", BackupType: rpc.Full})
	var failed *rpc.Error
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	var last []any
	for _, e := range hubtest.Entries(t, "BACKUP_ID="+failed.Data.BackupID, "TO=undoing") {
		last = append(last, e["PRIORITY"], e["REASON"])
	}
	if diff := cmp.Diff([]any{"3", "sna_refused"}, last); diff != "" {
		t.Errorf("of the one that fails is logged:\n%s", diff)
	}
}

// TestLogFormats: the same lines elsewhere, as JSON or as text.
func TestLogFormats(t *testing.T) {
	for format, read := range map[string]func(line string) (from, to string){
		"json": func(line string) (string, string) {
			var e struct {
				Time, Level, Msg string
				ID               string `json:"backup_id"`
				From, To         string
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Time == "" || e.Level == "" || e.Msg == "" {
				t.Errorf("%v: %s", err, line)
			}
			return e.From, e.To
		},
		"text": func(line string) (from, to string) {
			for _, word := range strings.Fields(line) {
				key, value, _ := strings.Cut(word, "=")
				switch key {
				case "from":
					from = value
				case "to":
					to = value
				}
			}
			if !strings.HasPrefix(line, "time=") || !strings.Contains(line, " level=") || !strings.Contains(line, " msg=") {
				t.Errorf("%s", line)
			}
			return from, to
		},
	} {
		t.Run(format, func(t *testing.T) {
			h := hubtest.New(t)
			sources := h.AddVM("pgtest1", hubtest.DiskSize)
			text, err := os.ReadFile(h.Config)
			hubtest.Must(t, err)
			hubtest.Must(t, os.WriteFile(h.Config, bytes.Replace(text, []byte("[agent]"), []byte("[agent]\nlog_format = \""+format+"\""), 1), 0o644))
			h.Daemon.End(syscall.SIGTERM)
			h.Boot()
			b, err := h.Dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest1", BackupType: rpc.Full})
			hubtest.Must(t, err)
			h.Completes(b.BackupID, sources)
			var life [][2]string
			for line := range strings.Lines(h.Daemon.Stderr()) {
				if from, to := read(line); strings.Contains(line, b.BackupID) {
					life = append(life, [2]string{from, to})
				}
			}
			if diff := cmp.Diff(theLife, life); diff != "" {
				t.Errorf("of %s is logged:\n%s", b.BackupID, diff)
			}
		})
	}
}

// TestNoSecrets: what the daemon knows of secrets is nowhere to be seen: at debug level, in a backup that succeeds and in one
// that the SNA refuses with the password in its words.
func TestNoSecrets(t *testing.T) {
	const password, token = "s3cr3t-Pässword", "t0ken-of-the-hub"
	secrets := t.TempDir()
	hubtest.Must(t, os.WriteFile(filepath.Join(secrets, "password"), []byte(password+"\n"), 0o600))
	hubtest.Must(t, os.WriteFile(filepath.Join(secrets, "token"), []byte(token+"\n"), 0o600))
	// As on every host, and not in a container: systemd mounts credentials in a namespace of its own, and the mount must
	// come through to the service's.
	hubtest.Must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""))
	h := hubtest.ServiceHub(t, fmt.Sprintf("[vcenter.main]\nhost = \"vcenter.test\"\nuser = \"backup\"\n"+
		"password_credential = \"vcenter-main\"\n[http]\ntoken_file = \"%s/token\"", secrets),
		"LoadCredential=vcenter-main:"+secrets+"/password")
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	c := h.Dial()
	vm, err := c.GetVM(t.Context(), "pgtest1")
	hubtest.Must(t, err)
	vm.VCenter = "main"
	_, err = c.PutVM(t.Context(), vm)
	hubtest.Must(t, err)
	_, err = c.LogLevel(t.Context(), "debug")
	hubtest.Must(t, err)
	h.Control("fault", nil, map[string][]string{"faults": {"refuse=500:login with " + password + " failed"}})
	_, refused := c.StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest1", BackupType: rpc.Full})
	if refused == nil || !strings.Contains(refused.Error(), "login with") {
		t.Errorf("refused: %v", refused)
	}
	h.Control("fault", nil, map[string][]string{"faults": {}})
	id := h.Held("pgtest1", "copy/0")
	tryTokens(h, id, token)
	report := h.Doctor()
	h.Finds(report, "ok", "credentials", "vcenter.main", "vcenter-main")
	shown := fmt.Sprint(report, refused) + whatCommandsSay(id)
	h.Release("copy/0")
	h.Completes(id, sources)
	h.Steps(hubtest.Step(hubtest.Words("doctor"), 0, "credentials vcenter.main", ""))
	shown += string(hubtest.Journalctl(t, "-o", "export")) + h.Daemon.Stderr()
	noFileHolds(h, password, token)
	for _, secret := range []string{password, token} {
		if i := strings.Index(shown, secret); i >= 0 {
			t.Errorf("a secret is shown: …%s…", shown[max(0, i-200):min(len(shown), i+100)])
		}
	}
	if !strings.Contains(shown, id) {
		t.Error("nothing was looked at")
	}
	hubtest.Must(t, os.Chmod(secrets+"/password", 0o644))
	h.Finds(h.Doctor(), "error", "credentials", "vcenter.main", "0644", "chmod 0600")
	hubtest.Must(t, os.Remove(secrets+"/password"))
	h.Finds(h.Doctor(), "error", "credentials", "vcenter.main", "does not exist")
	h.Finds(h.Changed("vcenter-main", "vcenter-other").Doctor(), "error", "credentials", "vcenter.main", "not given", "LoadCredential=vcenter-other")
}

// tryTokens asks over HTTP with the right token and with a wrong one.
func tryTokens(h *hubtest.Hub, id, token string) {
	h.Helper()
	for _, bearer := range []string{token, "wrong"} {
		request, err := http.NewRequestWithContext(h.Context(), http.MethodGet, "http://127.0.0.1:8082/api/v1/backups/"+id, nil)
		hubtest.Must(h.T, err)
		request.Header.Set("Authorization", "Bearer "+bearer)
		resp, err := http.DefaultClient.Do(request)
		hubtest.Must(h.T, err)
		if resp.Body.Close(); (resp.StatusCode == http.StatusOK) != (bearer == token) {
			h.Errorf("token %s: %s", bearer, resp.Status)
		}
	}
}

// whatCommandsSay is what is shown of a backup that runs.
func whatCommandsSay(id string) string {
	shown := ""
	for _, command := range []string{"systemctl show --all *", "ps -efww", "sendensectl backup show " + id, "sendensectl doctor", "sendensectl status"} {
		args := strings.Fields(command)
		if args[0] == "sendensectl" {
			args[0] = hubtest.Program(args[0])
		}
		out, _ := exec.Command(args[0], args[1:]...).CombinedOutput() // what it says counts
		shown += string(out)
	}
	return shown
}

// noFileHolds looks into every file of the hub: database, manifests, images, configuration.
func noFileHolds(h *hubtest.Hub, secrets ...string) {
	h.Helper()
	hubtest.Must(h.T, filepath.WalkDir(h.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				h.Errorf("%s holds a secret", path)
			}
		}
		return err
	}))
}
